//! SPDX expressions as they occur, and a tree that breaks deny.toml.

use super::*;

#[test]
fn judges_licence_expressions() {
    let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for (expression, permitted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0 OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(GPL-2.0 OR GPL-3.0) AND ISC", false),
        ("ISC AND (MIT OR Apache-2.0) AND OpenSSL", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("(MIT", false),
        ("MIT ISC", false),
    ] {
        assert_eq!(permits(expression, &allowed), permitted, "{expression}");
    }
}

#[test]
fn finds_banned_crates_and_licences() {
    let rules = "[licenses]\nallow = [\n    \"MIT\",\n]\n[bans]\ndeny = [\n    \"openssl-sys\", # one TLS stack\n]\n";
    let tree = "ours v0.1.0 (/w/crates/ours) | MIT\nfine v1.0.0 (proc-macro) | MIT (*)\nopenssl-sys v0.9.1 | MIT\n\nstrict v2.0.0 | GPL-3.0\n";
    let found: Vec<String> = compare(rules, tree).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("openssl-sys is banned"));
    assert!(found[1].contains("strict has the licence `GPL-3.0`"));
}
