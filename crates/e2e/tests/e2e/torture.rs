//! HTTP/1 at its corners (RFC 9110, RFC 9112), on both sides of the gateway: each case is what a client sends, what the
//! upstream does, and what the client must see.

mod cases;
mod connections;
mod time_outs;

use crate::client::{Answer, Client};
use crate::gateway::{Gateway, eventually};
use crate::script::{Act, Script};
use std::net::Shutdown;

struct Case {
    what: &'static str,
    /// `@` stands for the case's path; `@u` for one whose bodies are not buffered. `¦` parts what is sent in separate
    /// pieces; `¤` at the end closes the sending side.
    request: &'static str,
    upstream: &'static [Act],
    /// See [`check`].
    answers: &'static [&'static str],
    after: After,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It serves another request.
    Open,
    Closed,
}

const fn case(
    what: &'static str,
    request: &'static str,
    upstream: &'static [Act],
    answers: &'static [&'static str],
    after: After,
) -> Case {
    Case { what, request, upstream, answers, after }
}

fn kong_yml(script: &Script) -> String {
    format!(
        "_format_version: \"3.0\"\nservices:\n  - url: http://{}\n    read_timeout: 700\n    write_timeout: 700\n    retries: 0\n    \
         routes:\n      - {{ paths: [/], strip_path: false }}\n      \
         - {{ paths: [/u], strip_path: false, request_buffering: false, response_buffering: false }}\n",
        script.at
    )
}

/// Every case against one gateway, each over a connection of its own.
fn play(cases: &[Case], properties: crate::gateway::Properties<'_>) {
    let paths = cases
        .iter()
        .enumerate()
        .flat_map(|(at, case)| [(format!("/c{at}"), case.upstream), (format!("/u{at}"), case.upstream)]);
    let script = Script::start(paths.collect());
    let gateway = Gateway::start_with(&kong_yml(&script), properties);
    for (at, case) in cases.iter().enumerate() {
        let request = case.request.replace("@u", &format!("/u{at}")).replace('@', &format!("/c{at}"));
        let mut client = Client::open(gateway.ports.proxy);
        let pieces: Vec<&str> = request.trim_end_matches('¤').split('¦').collect();
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                // Only parts the pieces; nothing hangs on how long it takes.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            // A gateway that has answered already may take no more.
            let _ = client.send(piece.as_bytes());
        }
        if request.ends_with('¤') {
            client.stream().shutdown(Shutdown::Write).unwrap();
        }
        for answer in case.answers {
            check(case.what, answer, &mut client);
        }
        match case.after {
            After::Closed => assert!(client.is_closed(), "{}: the connection stays open, or more came", case.what),
            After::Open => {
                let answer = client.get("/fresh", &[]);
                assert_eq!((answer.status, answer.body.as_str()), (200, "fresh"), "{}: {answer:?}", case.what);
            }
        }
    }
    for (at, case) in cases.iter().enumerate() {
        // A request that broke off must never look whole to the upstream.
        if case.what.contains("breaks off") {
            let path = if case.request.contains("@u") { format!("/u{at}") } else { format!("/c{at}") };
            eventually("the upstream hears of the end", || script.seen(&path).is_empty() || script.has_ended(&path));
            assert!(script.seen(&path).iter().all(|seen| !seen.is_whole), "{}: {:?}", case.what, script.seen(&path));
        }
    }
}

/// Reads the next answer and compares it with `STATUS [field: value; !absent-field; trailer field: value]... [= body]`.
/// `HEAD STATUS` has no body, `cut STATUS` must break off; `none` is a connection that closes without a word.
fn check(what: &str, expected: &str, client: &mut Client) {
    if expected == "none" {
        assert!(client.is_closed(), "{what}: an answer came, or the connection stays open");
        return;
    }
    let (expected, body) = match expected.split_once(" = ") {
        Some((head, body)) => (head, Some(body)),
        None => (expected, None),
    };
    let (kind, expected) = match expected.split_once(' ') {
        Some((kind @ ("HEAD" | "cut"), rest)) => (kind, rest),
        _ => ("", expected),
    };
    let (status, fields) = expected.split_once(' ').unwrap_or((expected, ""));
    let status: u16 = status.parse().unwrap();
    if kind == "cut" {
        let answer = client.answer();
        assert!(answer.is_err(), "{what}: looks whole: {answer:?}");
        return;
    }
    let answer = if (100..200).contains(&status) && status != 101 {
        client.interim_answer()
    } else if kind == "HEAD" {
        client.answer_to_head()
    } else {
        client.answer()
    };
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    for field in fields.split("; ").filter(|field| !field.is_empty()) {
        check_field(what, field, &answer);
    }
    if let Some(body) = body {
        assert_eq!(answer.body, body, "{what}: {answer:?}");
    }
}

fn check_field(what: &str, field: &str, answer: &Answer) {
    if let Some(absent) = field.strip_prefix('!') {
        assert_eq!(answer.header(absent), None, "{what}: {absent} of {answer:?}");
        return;
    }
    let (fields, field) = match field.strip_prefix("trailer ") {
        Some(field) => (&answer.trailers, field),
        None => (&answer.headers, field),
    };
    let (name, value) = field.split_once(": ").unwrap();
    let found: Vec<_> = fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
    assert_eq!(found, [value], "{what}: {name} of {answer:?}");
}
