//! deny.toml, read without cargo-deny: the licence of every dependency is an allowed one, and no banned crate is in
//! the tree.

use super::Violation;
use crate::project;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = "deny.toml";

pub(super) fn check(root: &Path) -> Result<Vec<Violation>> {
    let rules = project::read(&root.join(PAGE))?;
    // `cargo metadata` would also list what no enabled feature asks for. The lock file is taken as it is: an outdated one
    // is a change that somebody forgot to commit.
    let output = project::cargo()
        .args(["tree", "--workspace", "--locked", "--prefix", "none", "--format", "{p} | {l}"])
        .output()
        .context("cannot run `cargo tree`")?;
    if !output.status.success() {
        bail!("`cargo tree --locked` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(compare(&rules, &String::from_utf8_lossy(&output.stdout)))
}

/// The tree has a line for each place of a crate: `name v1.2.3 (...) | licence`, and ` (*)` behind it if it was there before.
fn compare(rules: &str, tree: &str) -> Vec<Violation> {
    let (allowed, banned) = (list(rules, "allow"), list(rules, "deny"));
    let lines = tree.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once(" | "));
    let crates: BTreeSet<(&str, &str)> =
        lines.map(|(package, licence)| (package.split(' ').next().unwrap_or(package), licence)).collect();
    let mut found = Vec::new();
    for (name, licence) in crates {
        if banned.contains(&name) {
            found.push(Violation::new("Cargo.lock", 0, format!("{name} is banned ({PAGE} says why)")));
        }
        if !permits(licence, &allowed) {
            let message = format!("{name} has the licence `{licence}`, which {PAGE} does not allow");
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
