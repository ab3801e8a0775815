//! Tests of `syslog`.

use super::*;
use pdk::testing::{Harness, START, complete};
use serde_json::json;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn writes_as_syslog_does() {
    assert_eq!(message(1, 6, START.as_secs(), "{}"), "<14>Jan  1 00:00:30 kong: {}");
    assert_eq!(message(23, 0, 951_782_399, "{}"), "<184>Feb 28 23:59:59 kong: {}");
}

/// Where the syslog of the test listens.
fn socket() -> PathBuf {
    std::env::temp_dir().join(format!("silverback-syslog-{}", std::process::id()))
}

const TO_SOCKET: Definition =
    Definition { build: |instance| build_to(instance, &socket().display().to_string()), ..DEFINITION };

#[test]
fn sends_messages_that_are_severe_enough_to_the_socket() {
    let _ = std::fs::remove_file(socket());
    let sink = UnixDatagram::bind(socket()).unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let severities = json!({ "log_level": "warning", "client_errors_severity": "warning",
        "server_errors_severity": "crit", "facility": "local0", "queue": { "max_batch_size": 2 } });
    let mut h = Harness::new(&TO_SOCKET, severities);
    for status in [200, 404, 500] {
        h = h.with_upstream(&format!("{status}\n\n"));
        h.send(&format!("GET /{status}"));
    }
    let mut room = [0; 65536];
    for (priority, status) in [(132, 404), (130, 500)] {
        let size = sink.recv(&mut room).unwrap();
        let got = String::from_utf8_lossy(&room[..size]);
        let json = got.strip_prefix(&format!("<{priority}>Jan  1 00:00:30 kong: ")).unwrap();
        let document: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(document["response"]["status"], status, "{got}");
    }
    std::fs::remove_file(socket()).unwrap();
}

#[test]
fn the_severity_follows_the_status_and_may_be_too_low() {
    let severities = Severities::of_names(["warning", "debug", "warning", "crit"].map(str::to_owned));
    for (status, want) in [(200, None), (399, None), (400, Some(4)), (499, Some(4)), (500, Some(2)), (599, Some(2))] {
        assert_eq!(severities.of(status), want, "{status}");
    }
}

#[test]
fn knows_levels_and_facilities() {
    for (config, is_valid) in [
        (json!({}), true),
        (json!({ "facility": "local7", "log_level": "emerg" }), true),
        (json!({ "facility": "x" }), false),
        (json!({ "log_level": "error" }), false),
    ] {
        assert_eq!(complete(&DEFINITION, config.clone()).is_ok(), is_valid, "{config}");
    }
}
