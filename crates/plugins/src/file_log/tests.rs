//! Tests of `file-log`.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::{Value, json};

fn scratch(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("silverback-{}-{name}.log", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path.to_string_lossy().into_owned()
}

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn appends_one_line_of_json_a_request() {
    let path = scratch("append");
    let h = Harness::new(&DEFINITION, json!({ "path": path }));
    h.send("GET /a\nAuthorization: secret");
    h.send("GET /b");
    flush();
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["request"]["uri"], "/a");
    assert_eq!(lines[0]["request"]["headers"]["authorization"], "REDACTED");
    assert_eq!(lines[1]["request"]["uri"], "/b");
}

#[test]
fn follows_rotation_where_it_reopens() {
    for (name, config, is_followed) in [("kept", json!({}), false), ("reopened", json!({ "reopen": true }), true)] {
        let path = scratch(name);
        let mut config = config;
        config["path"] = path.as_str().into();
        let h = Harness::new(&DEFINITION, config);
        h.send("GET /1");
        flush();
        std::fs::rename(&path, format!("{path}.1")).unwrap();
        h.send("GET /2");
        flush();
        assert_eq!(lines(&path).len(), usize::from(is_followed), "{name}");
        reopen();
        h.send("GET /3");
        flush();
        assert_eq!(lines(&path).len(), 1 + usize::from(is_followed), "{name}");
    }
}

#[test]
fn counts_what_it_cannot_write() {
    let h = Harness::new(&DEFINITION, json!({ "path": "/nonexistent/x.log" }));
    let before = dropped();
    h.send("GET /");
    flush();
    assert_eq!(dropped(), before + 1);
}

#[test]
fn knows_filenames() {
    for (path, is_valid) in [("/tmp/a b", true), ("tmp/x", true), ("x", false), ("/tmp/*", false), (" !§*", false)] {
        assert_eq!(complete(&DEFINITION, json!({ "path": path })).is_ok(), is_valid, "{path}");
    }
}
