//! deny.toml, read without cargo-deny: the licence of every dependency is an allowed one, and no banned crate is in
//! the tree.

use super::Violation;
use crate::project;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;

const PAGE: &str = "deny.toml";

pub(super) fn check(root: &Path) -> Result<Vec<Violation>> {
    let rules = project::read(&root.join(PAGE))?;
    // The lock file as it is: an outdated one is a change that somebody forgot to commit.
    let output = project::cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cannot run `cargo metadata`")?;
    if !output.status.success() {
        bail!("`cargo metadata --locked` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(compare(&rules, &serde_json::from_slice(&output.stdout)?))
}

fn compare(rules: &str, metadata: &Value) -> Vec<Violation> {
    let (allowed, banned) = (list(rules, "allow"), list(rules, "deny"));
    // `packages` also lists what no feature or platform of ours asks for; the resolved graph does not.
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let used: Vec<&str> = nodes.filter_map(|node| node["id"].as_str()).collect();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        let name = text("name");
        if !used.contains(&text("id")) {
            continue;
        }
        if banned.contains(&name) {
            found.push(Violation::new("Cargo.lock", 0, format!("{name} is banned ({PAGE} says why)")));
        }
        if !permits(text("license"), &allowed) {
            let message = format!("{name} has the licence `{}`, which {PAGE} does not allow", text("license"));
            found.push(Violation::new("Cargo.lock", 0, message));
        }
    }
    found
}

/// The quoted words of the first list with that name. deny.toml is ours: `name = [`, one item a line, `]`.
fn list<'a>(rules: &'a str, name: &str) -> Vec<&'a str> {
    let opening = format!("{name} = [");
    let lines =
        rules.lines().skip_while(move |line| !line.starts_with(&opening)).take_while(|line| !line.starts_with(']'));
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

/// An SPDX expression: true where a choice of its alternatives needs only allowed licences.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let permitted = alternatives(&mut rest, allowed);
    permitted && rest.is_empty()
}

fn alternatives(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut permitted = conjunction(rest, allowed);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        // Both sides are read in any case: what follows must be parsed too.
        permitted |= conjunction(rest, allowed);
    }
    permitted
}

fn conjunction(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut permitted = licence(rest, allowed);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        permitted &= licence(rest, allowed);
    }
    permitted
}

fn licence(rest: &mut &[&str], allowed: &[&str]) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let permitted = alternatives(rest, allowed);
            let [")", after @ ..] = *rest else { return false };
            *rest = after;
            permitted
        }
        [name, "WITH", exception, after @ ..] => {
            *rest = after;
            allowed.contains(&format!("{name} WITH {exception}").as_str())
        }
        [name, after @ ..] => {
            *rest = after;
            allowed.contains(name)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests;
