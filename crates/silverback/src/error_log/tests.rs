//! Tests of the error log.

use std::path::Path;
use std::time::Duration;

use log::{Log, Record};

use super::line;
use super::{ErrorLog, Settings};
use crate::conf::{Level, LogFormat, LogTarget};

fn settings(path: &Path, level: Level) -> Settings {
    Settings { target: LogTarget::File(path.to_owned()), level, format: LogFormat::Text, may_be_link: true }
}

fn write(log: &ErrorLog, level: log::Level, target: &str, message: &str) {
    log.log(&Record::builder().level(level).target(target).args(format_args!("{message}")).build());
}

#[test]
fn lines_look_like_kongs_with_fields_behind_the_message() {
    let fields: [(&str, log::kv::Value<'_>); 2] =
        [("client", log::kv::Value::from_display(&"10.0.0.1")), ("request_id", log::kv::Value::from("abc"))];
    let message = format_args!("upstream\ntimed out");
    let record = Record::builder().level(log::Level::Warn).target("proxy").args(message).key_values(&fields).build();
    let text = line::format(&record, LogFormat::Text);
    let (head, tail) = text.split_once(": ").unwrap();
    let words: Vec<&str> = head.split(' ').collect();
    assert_eq!(words[0].len() + words[1].len(), "2026/01/01".len() + "00:00:00".len());
    assert_eq!(words[2], "[warn]");
    assert!(words[3].starts_with(&format!("{}#", std::process::id())));
    assert_eq!(tail, "upstream\\ntimed out, client: 10.0.0.1, request_id: \"abc\"\n");

    let json: serde_json::Value = serde_json::from_str(&line::format(&record, LogFormat::Json)).unwrap();
    assert_eq!(json["level"], "warn");
    assert_eq!(json["message"], "upstream\ntimed out");
    assert_eq!(json["request_id"], "abc");
}

#[test]
fn targets_carry_the_levels_that_the_facade_lacks() {
    let cases = [
        (log::Level::Warn, "notice", Level::Notice),
        (log::Level::Error, "crit", Level::Crit),
        (log::Level::Error, "alert", Level::Alert),
        (log::Level::Error, "emerg", Level::Emerg),
        (log::Level::Error, "proxy", Level::Error),
        (log::Level::Trace, "proxy", Level::Debug),
        (log::Level::Info, "notice", Level::Info),
    ];
    for (level, target, expected) in cases {
        let metadata = log::Metadata::builder().level(level).target(target).build();
        assert_eq!(line::level_of(&metadata), expected, "{level} {target}");
    }
}

#[test]
fn writes_from_its_level_on_and_into_the_new_file_after_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("error.log"), directory.path().join("error.log.1"));
    let log = ErrorLog::queued(&settings(&path, Level::Notice)).unwrap();
    write(&log, log::Level::Info, "x", "too little");
    write(&log, log::Level::Warn, "notice", "enough");
    log.wait_written();
    std::fs::rename(&path, &rotated).unwrap();
    log.reopen();
    write(&log, log::Level::Error, "x", "after");
    log.wait_written();
    let (before, after) = (std::fs::read_to_string(&rotated).unwrap(), std::fs::read_to_string(&path).unwrap());
    assert!(
        before.contains("[notice]") && before.ends_with(": enough\n") && !before.contains("too little"),
        "{before}"
    );
    assert!(after.contains("[error]") && after.ends_with(": after\n"), "{after}");
}

#[test]
fn a_level_set_for_a_time_goes_back_to_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let log = ErrorLog::queued(&settings(&directory.path().join("error.log"), Level::Warn)).unwrap();
    log.set_level(Level::Info, Some(Duration::from_secs(3600)));
    log.set_level(Level::Debug, Some(Duration::from_millis(1)));
    assert!(matches!(log.level(), Level::Debug | Level::Warn));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while log.level() != Level::Warn {
        assert!(std::time::Instant::now() < deadline, "the level did not go back");
        std::thread::yield_now();
    }
    log.set_level(Level::Error, None);
    assert_eq!(log.level(), Level::Error);
}

#[test]
fn a_log_that_cannot_be_written_drops_lines_and_never_waits() {
    // A pipe that nobody reads stands for a disk that hangs.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let log = ErrorLog::queued(&settings(&path, Level::Warn)).unwrap();
    for _ in 0..4000 {
        write(&log, log::Level::Error, "x", &"a long line ".repeat(20));
    }
    assert!(log.dropped() > 1000, "{}", log.dropped());
    drop(reader);
}

#[test]
fn a_line_is_cut_and_has_no_control_characters() {
    let message = format!("\u{1b}[31m{}", "ö".repeat(10_000));
    let record_message = format_args!("{message}");
    let text = line::format(&Record::builder().level(log::Level::Error).args(record_message).build(), LogFormat::Text);
    assert!(text.len() < 9 << 10, "{}", text.len());
    assert!(text.contains("\\x1B[31m"), "{}", text.get(..100).unwrap_or_default());
}
