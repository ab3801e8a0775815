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

/// Where the syslog of a test listens.
fn socket(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("silverback-syslog-{test}-{}", std::process::id()))
}

fn listen(test: &str) -> UnixDatagram {
    let _ = std::fs::remove_file(socket(test));
    let sink = UnixDatagram::bind(socket(test)).unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    sink
}

fn build_for(instance: &Instance<'_>, test: &str) -> Result<Arc<dyn Plugin>, BuildError> {
    build_to(instance, &socket(test).display().to_string())
}

const SEVERE: Definition = Definition { build: |instance| build_for(instance, "severe"), ..DEFINITION };
const FORGED: Definition = Definition { build: |instance| build_for(instance, "forged"), ..DEFINITION };
const DEAF: Definition = Definition { build: |instance| build_for(instance, "deaf"), ..DEFINITION };

#[test]
fn sends_messages_that_are_severe_enough_to_the_socket() {
    let sink = listen("severe");
    let severities = json!({ "log_level": "warning", "client_errors_severity": "warning",
        "server_errors_severity": "crit", "facility": "local0", "queue": { "max_batch_size": 2 } });
    let mut h = Harness::new(&SEVERE, severities);
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
    std::fs::remove_file(socket("severe")).unwrap();
}

#[test]
fn control_characters_end_no_message() {
    let sink = listen("forged");
    let h = Harness::new(&FORGED, json!({}));
    h.send_with("GET /a%0a<9>Jan  1 00:00:30 kong: {}?x=%00", |cx| {
        cx.request.headers.set("user-agent", b"a\r\n<9>Jan  1 00:00:30 root: forged\0\x1b[2J\x07\xff\"}");
    });
    let mut room = [0; 65536];
    let size = sink.recv(&mut room).unwrap();
    std::fs::remove_file(socket("forged")).unwrap();
    let got = std::str::from_utf8(&room[..size]).unwrap();
    assert!(!got.contains(|c: char| c < ' '), "{got:?}");
    let json = got.strip_prefix("<14>Jan  1 00:00:30 kong: ").unwrap();
    let document: serde_json::Value = serde_json::from_str(json).unwrap();
    assert!(document["request"]["headers"]["user-agent"].as_str().unwrap().contains("forged"), "{got}");
}

#[test]
fn a_syslog_that_reads_nothing_delays_no_request_and_costs_messages_that_are_counted() {
    let sink = listen("deaf");
    let config = json!({ "queue": { "max_entries": 10, "max_retry_time": 0 } });
    let h = Harness::new(&DEAF, config);
    let dropped =
        || crate::dropped_log_messages().filter(|(plugin, _)| plugin == "syslog").map(|(_, n)| n).sum::<u64>();
    let (before, start) = (dropped(), std::time::Instant::now());
    // More than the system holds for a socket.
    (0..2000).for_each(|_| assert_eq!(h.send("GET /").status, 200));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while dropped() < before + 1000 {
        assert!(std::time::Instant::now() < end, "{} dropped", dropped() - before);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(sink);
    std::fs::remove_file(socket("deaf")).unwrap();
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
