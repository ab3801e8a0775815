//! The lists are read as they stand, and the name server refuses as RFC 1035 has it.

use super::*;

#[test]
fn reads_the_closing_counts_of_the_player() {
    assert_eq!(counts("12 passed, 1 failed, 3 skipped"), Some(Counts { passed: 12, failed: 1, skipped: 3 }));
    assert_eq!(counts("proxy_raw.json: 12 of 13"), None);
}

#[test]
fn an_area_is_played_unless_a_reason_stands_behind_it() {
    let areas = plan::areas("# comment\nproxy_raw\n\nplugin_acme   not built yet\n");
    assert_eq!(areas["proxy_raw"], None);
    assert_eq!(areas["plugin_acme"].as_deref(), Some("not built yet"));
    assert_eq!(areas.len(), 2);
}

#[test]
fn the_schema_of_a_plugin_waits_for_the_plugin() {
    let areas = plan::areas("plugin_acl\nplugin_acme   not built yet\n");
    let cases = [
        ("plugin-schema/acme/created", Some("not built yet")),
        ("info/schema/plugins/acme", Some("not built yet")),
        ("plugin-schema/acl/1", None),
        ("plugin-schema/unheard-of/1", None),
        ("acme/other", None),
    ];
    for (case, expected) in cases {
        assert_eq!(plan::plugin_left_out(case, &areas), expected, "{case}");
    }
}

#[test]
fn a_skip_without_a_reason_is_refused() {
    let skips = plan::skips("a/case with: spaces | because of this").unwrap();
    assert_eq!(skips["a/case with: spaces"], "because of this");
    assert!(plan::skips("a/case").is_err());
    assert!(plan::skips("a/case | ").is_err());
}

#[test]
fn a_decimal_id_of_sixteen_digits_is_not_masked_as_a_hexadecimal_one() {
    let case = serde_json::json!({ "name": "a", "steps": [
        { "do": "GET /" },
        { "mask": [["[0-9a-f]{32}", "<hex32>"], ["[0-9a-f]{16}", "<hex16>"], ["(x-datadog-id\", \")\\d+", "\\1<n>"]] },
    ]});
    let masks = &plan::numbers_masked_first(case.clone())["steps"][1]["mask"];
    let first: Vec<&str> = masks.as_array().unwrap().iter().filter_map(|mask| mask[1].as_str()).collect();
    assert_eq!(first, ["\\1<n>", "<hex32>", "<hex16>"]);
    assert_eq!(plan::numbers_masked_first(case)["steps"][0], serde_json::json!({ "do": "GET /" }));
}

#[test]
fn the_name_server_repeats_the_question_and_refuses() {
    let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x01a\x04test\0\0\x01\0\x01EDNS";
    let answer = names::refuse(query).unwrap();
    assert_eq!(answer, b"\x12\x34\x81\x83\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01");
}

#[test]
fn the_name_server_survives_garbage() {
    for query in [&b""[..], b"short", b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x3fnever ends"] {
        assert_eq!(names::refuse(query), None);
    }
}
