//! Tests of `tcp-log`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

#[test]
fn sends_a_line_a_request_over_one_connection() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let h = Harness::new(&DEFINITION, json!({ "host": "127.0.0.1", "port": port }));
    h.send("GET /1");
    h.send("GET /2");
    let (stream, _) = sink.accept().unwrap();
    let lines = BufReader::new(stream).lines().take(2);
    let uris: Vec<_> =
        lines.map(|l| serde_json::from_str::<Value>(&l.unwrap()).unwrap()["request"]["uri"].clone()).collect();
    assert_eq!(uris, ["/1", "/2"]);
}

#[test]
fn checks_its_config() {
    for (config, want) in [
        (json!({ "host": "h" }), json!({ "port": "required field missing" })),
        (json!({ "host": "h", "port": 99999 }), json!({ "port": "value should be between 0 and 65535" })),
        (json!({ "host": "a b", "port": 1 }), json!({ "host": "invalid value: a b" })),
    ] {
        assert_eq!(complete(&DEFINITION, config).unwrap_err(), json!({ "config": want }));
    }
}
