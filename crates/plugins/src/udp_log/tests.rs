//! Tests of `udp-log`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::{Value, json};
use std::net::UdpSocket;

#[test]
fn sends_the_document_of_each_request() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = sink.local_addr().unwrap().port();
    let h = Harness::new(&DEFINITION, json!({ "host": "127.0.0.1", "port": port }));
    for uri in ["/1", "/2"] {
        h.send(&format!("GET {uri}"));
        let mut room = [0; 65536];
        let size = sink.recv(&mut room).unwrap();
        let got: Value = serde_json::from_slice(&room[..size]).unwrap();
        assert_eq!(got["request"]["uri"], uri);
        assert_eq!(got["response"]["status"], 200);
    }
}

#[test]
fn needs_host_and_port() {
    let want = json!({ "config": { "host": "required field missing", "port": "required field missing" } });
    assert_eq!(complete(&DEFINITION, json!({})).unwrap_err(), want);
}
