//! The examples in the plugins' docs, done as a reader would: the kong.yml, the requests, the answers, what the upstream gets,
//! and what the sinks of logs and metrics get.

mod sinks;

use crate::client::{Answer, Client};
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use serde_json::{Value, json};
use sinks::Sinks;
use std::fs;
use std::path::Path;

/// The upstream of the examples.
const UPSTREAM: &str = "127.0.0.1:9000";

/// What the upstream gets of a request that does not come to it.
const NOTHING: &str = "(nothing)";

/// A fenced block: what stands behind its fence, and its lines.
struct Block {
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if is_inside => is_inside = false,
            Some(kind) => {
                is_inside = true;
                out.push(Block { kind: kind.to_owned(), text: String::new() });
            }
            None if is_inside => {
                let text = &mut out.last_mut().unwrap().text;
                *text += line;
                *text += "\n";
            }
            None => {}
        }
    }
    out
}

/// A message as it is written in an example.
struct Message<'a> {
    first: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Self {
        let (head, body) = text.trim_end().split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let fields = lines.map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())).unwrap());
        Self { first, fields: fields.collect(), body }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The request with what every client adds. The upstream is told to answer with text.
    fn to_send(&self) -> String {
        let mut out = format!("{}\r\nX-Answer: Content-Type: text/plain\r\n", self.first);
        for (name, value) in &self.fields {
            out += &format!("{name}: {value}\r\n");
        }
        if self.field("host").is_none() {
            out += "Host: localhost\r\n";
        }
        if !self.body.is_empty() {
            out += &format!("Content-Length: {}\r\n", self.body.len());
        }
        out + "\r\n" + self.body
    }

    /// Whether a message has what is written of it; what is not written may be there too.
    fn fits(&self, first: &str, fields: &[(String, String)], body: &str) -> bool {
        let has = |(name, want): &(&str, &str)| {
            fields.iter().any(|(known, value)| known.eq_ignore_ascii_case(name) && is_like(want, value))
        };
        is_like(self.first, first)
            && self.fields.iter().all(has)
            && (self.body.is_empty() || body_fits(self.body, body))
    }
}

/// Whether a text is as written, where `...` stands for anything.
fn is_like(written: &str, text: &str) -> bool {
    let mut parts = written.split("...");
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

fn body_fits(written: &str, body: &str) -> bool {
    match (serde_json::from_str(written), serde_json::from_str(body)) {
        (Ok(written), Ok(body)) => value_fits(&written, &body),
        _ => is_like(written, body.trim_end()),
    }
}

fn value_fits(written: &Value, value: &Value) -> bool {
    match (written, value) {
        (Value::Object(written), Value::Object(value)) => {
            written.iter().all(|(name, written)| value.get(name).is_some_and(|value| value_fits(written, value)))
        }
        (Value::String(written), Value::String(value)) => is_like(written, value),
        _ => written == value,
    }
}

/// Makes a kong.yml the configuration, over the Admin API.
pub(crate) fn configure(gateway: &Gateway, kong_yml: &str) -> Answer {
    let body = json!({ "config": kong_yml }).to_string();
    let mut client = Client::open(gateway.ports.admin);
    let head = format!("Host: admin\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    client.send(format!("POST /config HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
    client.answer().unwrap()
}

fn send(gateway: &Gateway, request: &str, over_tls: bool) -> Answer {
    if !over_tls {
        let mut client = Client::open(gateway.ports.proxy);
        client.send(request.as_bytes()).unwrap();
        return client.answer().unwrap();
    }
    let mut client = Client::over(crate::pki::open(gateway.ports.tls, "localhost", None));
    client.send(request.as_bytes()).unwrap();
    client.answer().unwrap()
}

/// Whether the upstream got a request like that.
fn was_seen(upstream: &Upstream, since: usize, wanted: &Message<'_>) -> bool {
    upstream.seen().iter().skip(since).any(|request| {
        let request = request.replace("\r\n", "\n");
        let (head, body) = request.split_once("\n\n").or_else(|| request.rsplit_once('\n')).unwrap_or((&request, ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        // The upstream keeps a head without its empty line: what is no field is the body.
        let (mut fields, mut text) = (Vec::new(), body.to_owned());
        for line in lines {
            match line.split_once(": ").filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
            {
                Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
                None => text = format!("{line}{text}"),
            }
        }
        wanted.fits(first, &fields, &text)
    })
}

fn run(page: &str, blocks: &[Block], gateway: &Gateway, upstream: &Upstream) {
    let (mut answer, mut since) = (None, 0);
    let mut sinks = Sinks::start();
    for Block { kind, text } in blocks {
        let text = text.replace(UPSTREAM, &upstream.at.to_string());
        let message = || Message::parse(&text);
        match kind.as_str() {
            "yaml" => {
                let done = configure(gateway, &sinks.replace(&text));
                assert_eq!(done.status, 201, "{page}: {}", done.body);
            }
            "http request" | "http request tls" => {
                since = upstream.seen().len();
                answer = Some(send(gateway, &message().to_send(), kind.ends_with("tls")));
            }
            "http answer" => {
                let answer: &Answer = answer.as_ref().unwrap();
                let message = message();
                let first = message.first.split(' ').take(2).collect::<Vec<_>>().join(" ");
                let message = Message { first: &first, ..message };
                let fits = message.fits(&format!("HTTP/1.1 {}", answer.status), &answer.headers, &answer.body);
                assert!(fits, "{page}: the example has\n{text}\nbut the answer is {answer:#?}");
            }
            "http upstream" if text.trim_end() == NOTHING => {
                assert_eq!(upstream.seen().get(since..), Some(&[][..]), "{page}: the upstream gets nothing");
            }
            "http upstream" => {
                let what =
                    format!("{page}: the upstream gets\n{text}; it has seen {:#?}", upstream.seen().get(since..));
                eventually(&what, || was_seen(upstream, since, &message()));
            }
            _ => match sinks.check(kind, text.trim_end(), gateway) {
                Ok(is_of_sink) => {
                    let is_shown = ["yaml", "", "sh"].contains(&kind.as_str());
                    assert!(is_of_sink || is_shown, "{page}: nobody knows of blocks of {kind:?}");
                }
                Err(wrong) => panic!("{page}: {kind}: {wrong}"),
            },
        }
    }
}

#[test]
fn the_examples_of_plugins_are_true() {
    let upstream = Upstream::start();
    let tracing = [("tracing_instrumentations", "all"), ("tracing_sampling_rate", "1")];
    let environment = [("LOGGLY_KEY", "0a1b2c3d-4e5f")];
    let gateway = Gateway::start_in("_format_version: \"3.0\"\n", &tracing, &environment);
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/src");
    let (mut done, mut arrived) = (0, 0);
    for folder in fs::read_dir(plugins).unwrap() {
        let path = folder.unwrap().path().join("docs.md");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let page = path.display().to_string();
        let blocks = blocks(&text);
        assert!(blocks.iter().any(|block| block.kind == "http answer"), "{page} has no example");
        let is_of_sink = |block: &Block| ["json ", "text "].iter().any(|kind| block.kind.starts_with(kind));
        arrived += usize::from(blocks.iter().any(is_of_sink));
        run(&page, &blocks, &gateway, &upstream);
        done += 1;
    }
    assert!(done >= 30, "{done} pages");
    assert!(arrived >= 8, "{arrived} pages show what sinks get");
}

#[test]
fn what_is_left_out_of_an_example_may_be_anything() {
    for (written, text, want) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("...", "", true),
        ("a...", "ab", true),
        ("a...c", "abc", true),
        ("a...c", "abd", false),
        ("...b...", "abc", true),
        ("...x...", "abc", false),
    ] {
        assert_eq!(is_like(written, text), want, "{written} {text}");
    }
}
