//! Tests of `syslog`.

use super::*;
use pdk::testing::{START, complete};
use serde_json::json;

#[test]
fn writes_as_syslog_does() {
    assert_eq!(message(1, 6, START.as_secs(), "{}"), "<14>Jan  1 00:00:30 kong: {}");
    assert_eq!(message(23, 0, 951_782_399, "{}"), "<184>Feb 28 23:59:59 kong: {}");
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
