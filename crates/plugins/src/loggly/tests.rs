//! Tests of `loggly`.

use super::*;
use pdk::testing::Harness;
use serde_json::json;
use std::net::UdpSocket;

#[test]
fn sends_a_syslog_datagram_a_request_that_is_severe_enough() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = sink.local_addr().unwrap().port();
    let config = json!({
        "host": "127.0.0.1", "port": port, "key": "k", "tags": ["a", "b"], "log_level": "err", "server_errors_severity": "crit",
    });
    let h = Harness::new(&DEFINITION, config);
    h.send("GET /fine");
    h.with_upstream("500\n\n").send("GET /failed");
    let mut room = [0; 65536];
    let size = sink.recv(&mut room).unwrap();
    let got = String::from_utf8_lossy(&room[..size]).into_owned();
    let (head, json) = got.split_once(" {").unwrap();
    assert_eq!(head, "<10>1 2026-01-01T00:00:30Z node.test kong - - [k@41058 tag=\"a\" tag=\"b\"]");
    assert!(json.contains("\"uri\":\"/failed\""), "{json}");
}

#[test]
fn without_tags_the_space_before_them_stays() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = sink.local_addr().unwrap().port();
    Harness::new(&DEFINITION, json!({ "host": "127.0.0.1", "port": port, "key": "k", "tags": [] })).send("GET /");
    let mut room = [0; 65536];
    let size = sink.recv(&mut room).unwrap();
    let got = String::from_utf8_lossy(&room[..size]).into_owned();
    assert!(got.contains(" - - [k@41058 ] {"), "{got}");
}

#[test]
fn tags_and_the_key_stay_within_their_element() {
    for (tag, want) in [
        ("plain", "plain"),
        ("ümlaut", "ümlaut"),
        ("a\"] <9>1 - evil", "a\\\"\\] <9>1 - evil"),
        ("back\\slash", "back\\\\slash"),
        ("two\nlines\u{1b}[2J\u{9b}", "two_lines_[2J_"),
    ] {
        assert_eq!(parameter_value(tag), want, "{tag:?}");
    }
    for (key, want) in [("0a-1b", "0a-1b"), ("k y=\"]\n\u{e9}", "k_y_____")] {
        assert_eq!(element_name(key), want, "{key:?}");
    }
}
