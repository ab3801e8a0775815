//! Tests of `http-log`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// Answers requests with these statuses, over as many connections as come, and tells the requests.
fn server(statuses: &'static [u16]) -> (u16, JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < statuses.len() {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            while let Some(status) = statuses.get(seen.len()) {
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                        break;
                    }
                    let line = line.trim_end().to_ascii_lowercase();
                    length = line.strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
                    head += &format!("{line}\n");
                }
                if head.is_empty() {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                seen.push((head, String::from_utf8(body).unwrap()));
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
        seen
    });
    (port, thread)
}

#[test]
fn sends_one_document_a_request_and_tries_again() {
    let (port, server) = server(&[500, 204, 200]);
    let h = Harness::new(&DEFINITION, json!({ "http_endpoint": format!("http://127.0.0.1:{port}/log?x=1") }));
    h.send("GET /a");
    h.send("GET /b");
    let seen = server.join().unwrap();
    let uris: Vec<String> = seen.iter().map(|(_, body)| document_of(body)["request"]["uri"].to_string()).collect();
    assert_eq!(uris, ["\"/a\"", "\"/a\"", "\"/b\""]);
    let head = &seen[0].0;
    assert!(head.starts_with("post /log http/1.1\n"), "{head}");
    for line in [&format!("host: 127.0.0.1:{port}\n"), "content-type: application/json\n", "user-agent: lua-resty-"] {
        assert!(head.contains(line), "{head}");
    }
}

fn document_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn sends_batches_as_arrays_with_the_configured_fields() {
    let (port, server) = server(&[200]);
    let h = Harness::new(
        &DEFINITION,
        json!({
            "http_endpoint": format!("http://us%20er:p%2Bw@127.0.0.1:{port}"), "method": "PUT",
            "headers": { "X-Token": "t", "User-Agent": "me" }, "queue_size": 2, "queue": { "max_coalescing_delay": 60 },
        }),
    );
    h.send("GET /a");
    h.send("GET /b");
    let seen = server.join().unwrap();
    let batch = document_of(&seen[0].1);
    assert_eq!((&batch[0]["request"]["uri"], &batch[1]["request"]["uri"]), (&json!("/a"), &json!("/b")));
    let head = &seen[0].0;
    assert!(head.starts_with("put / http/1.1\n"), "{head}");
    let authorization = format!("authorization: basic {}\n", "dXMgZXI6cCt3".to_ascii_lowercase());
    for line in ["x-token: t\n", "user-agent: me\n", &authorization] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[test]
fn errors_and_labels_tell_no_password() {
    let authority = |config: &Value| {
        let config = complete(&DEFINITION, config.clone()).unwrap();
        let config: Config = serde_json::from_value(config).unwrap();
        Endpoint::new(&config, false).map(|endpoint| endpoint.authority().to_owned())
    };
    assert_eq!(authority(&json!({ "http_endpoint": "http://u:secret@h.test:1/" })), Ok("h.test:1".to_owned()));
    assert_eq!(authority(&json!({ "http_endpoint": "https://[::1]/" })), Ok("[::1]".to_owned()));
    let error = authority(&json!({ "http_endpoint": "ftp://u:secret@h.test/" })).unwrap_err();
    assert_eq!(error, "scheme 'ftp' is neither http nor https");
    let error = authority(&json!({ "http_endpoint": "http://u:secret@h.test/a b" })).unwrap_err();
    assert_eq!(error, "not a valid URL");
}

#[test]
fn refuses_two_authorizations_and_headers_of_its_own() {
    let cases = [
        (json!({ "Authorization": "x" }), false),
        (json!({ "X": "x" }), true),
        (json!({ "host": "x" }), false),
        (json!({ "Content-Type": "x" }), false),
        (json!({ "content-length": "x" }), false),
    ];
    for (headers, is_valid) in cases {
        let config = json!({ "http_endpoint": "http://u:p@h.test/", "headers": headers });
        assert_eq!(complete(&DEFINITION, config).is_ok(), is_valid, "{headers}");
    }
}
