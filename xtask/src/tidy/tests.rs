//! The rules find what breaks them, and the project breaks none.

use super::*;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

fn said(found: &[Violation]) -> String {
    found.iter().map(|violation| format!("{violation}\n")).collect()
}

/// The test that holds every Cargo.toml against the table of ARCHITECTURE.md, and everything else against its rule.
#[test]
fn the_project_keeps_its_rules() {
    let found = check(&project::root()).unwrap();
    assert!(found.is_empty(), "\n{}", said(&found));
}

#[test]
fn finds_what_breaks_the_rules_on_files() {
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(600));
    for (path, text, expected) in [
        ("crates/router/src/lib.rs", "//! Fine.\nfn f() {}\n", ""),
        ("crates/router/src/lib.rs", long.as_str(), "601 lines"),
        ("crates/router/src/tests.rs", long.as_str(), ""),
        ("crates/router/src/lib.rs", "fn f() {}\n", "opens with `//!`"),
        ("crates/router/src/lib.rs", concat!("//! F.\n#[ig", "nore = \"run by another\"]\nfn f() {}\n"), ""),
        ("crates/router/src/tests.rs", "fn f() {}\n", ""),
        ("crates/router/src/utils.rs", "//! Things.\n", "`utils` says nothing"),
        ("crates/router/src/helpers/mod.rs", "//! Things.\n", "`helpers` says nothing"),
        ("crates/router/src/lib.rs", concat!("//! F.\nfn f() { to", "do!() }\n"), "lib.rs:2:"),
        ("crates/router/src/lib.rs", concat!("//! F.\n#[ig", "nore]\nfn f() {}\n"), "lib.rs:2:"),
    ] {
        let found = said(&files::check(&[source(path, text)]));
        assert_eq!(found.is_empty(), expected.is_empty(), "{path}: {found}");
        assert!(found.contains(expected), "{path}: {found}");
    }
}

#[test]
fn finds_what_must_be_absent() {
    for (path, line, expected) in [
        ("crates/router/src/lib.rs", "let now = Instant::now();", "reads no clock"),
        ("crates/proxy/src/pool.rs", "let now = Instant::now();", ""),
        ("crates/router/src/tests.rs", "let now = Instant::now();", ""),
        ("crates/router/src/lib.rs", "// not Instant::now", ""),
        ("crates/pdk/src/lib.rs", "use hyper::Request;", "only proxy::http"),
        ("crates/proxy/src/http/server.rs", "use hyper::Request;", ""),
        ("crates/proxy/src/tls.rs", "use oauth2::Token; super::h2::serve();", ""),
        ("crates/admin/src/lib.rs", "let q = \"SELECT 1\";", "only store names SQL"),
        ("crates/store/src/sql.rs", "let q = \"SELECT 1\";", ""),
    ] {
        let found = said(&absences::check(&[source(path, line)]));
        assert_eq!(found.is_empty(), expected.is_empty(), "{path} {line}: {found}");
        assert!(found.contains(expected), "{path} {line}: {found}");
    }
}

#[test]
fn judges_changelog_fragments() {
    for (name, text, expected) in [
        ("2-proxying.added.md", "A `kong.yml` in, traffic out.\n", ""),
        ("README.md", "# anything", ""),
        ("proxying.added.md", "Traffic.", "starts with the number"),
        ("2-proxying.md", "Traffic.", "named <issue>"),
        ("2-proxying.great.md", "Traffic.", "no kind of change"),
        ("2-proxying.fixed.md", "traffic", "whole sentences"),
        ("2-proxying.fixed.md", "", "whole sentences"),
    ] {
        let found = said(&changelog::check(&[source(&format!("changelog.d/{name}"), text)]));
        assert_eq!(found.is_empty(), expected.is_empty(), "{name}: {found}");
        assert!(found.contains(expected), "{name}: {found}");
    }
}

#[test]
fn follows_links() {
    let root = project::root();
    for (text, expected) in [
        ("[x](../README.md)", ""),
        ("[x](page.md#two-words-v2)\n\n## Two words: v2\n", ""),
        ("[x](#two-words)\n\n# Two words\n", ""),
        ("[x](https://example.org/nowhere)", ""),
        ("```\n[x](nowhere.md)\n```", ""),
        ("[x](nowhere.md)", "nowhere.md leads nowhere"),
        ("[x](#missing)\n\n# Other\n", "no heading #missing"),
        ("see `xtask/src/main.rs` and `crates/<name>/src`", ""),
        ("see `xtask/src/nothing.rs`", "does not exist"),
    ] {
        let found = said(&links::check(&root, &[source("docs/page.md", text)]));
        assert_eq!(found.is_empty(), expected.is_empty(), "{text}: {found}");
        assert!(found.contains(expected), "{text}: {found}");
    }
}
