//! What is fuzzed is what runs: fuzz/ is a workspace of its own, with the versions of the gateway's.

use super::Violation;
use crate::project;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const LOCK: &str = "fuzz/Cargo.lock";

pub(super) fn check(root: &Path) -> Result<Vec<Violation>> {
    Ok(compare(&project::read(&root.join("Cargo.lock"))?, &project::read(&root.join(LOCK))?))
}

fn compare(gateway: &str, fuzz: &str) -> Vec<Violation> {
    let known = packages(gateway);
    let differs = |(name, versions): (&str, BTreeSet<&str>)| {
        let own = known.get(name)?;
        let version = versions.iter().find(|version| !own.contains(*version))?;
        let message = format!(
            "{name} {version} is not the gateway's: cp Cargo.lock fuzz/ && cargo metadata --manifest-path fuzz/Cargo.toml"
        );
        Some(Violation::new(LOCK, 0, message))
    };
    packages(fuzz).into_iter().filter_map(differs).collect()
}

/// The versions of each package in a Cargo.lock.
fn packages(lock: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        let text = line.split('"').nth(1).unwrap_or_default();
        if line.starts_with("name = ") {
            name = text;
        } else if line.starts_with("version = ") && !name.is_empty() {
            packages.entry(name).or_default().insert(text);
            name = "";
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn versions_are_those_of_the_gateway() {
        let lock = |packages: &[(&str, &str)]| {
            let entry =
                |(name, version): &(&str, &str)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
            format!("version = 4\n\n{}", packages.iter().map(entry).collect::<String>())
        };
        let gateway = lock(&[("h2", "0.4.1"), ("rand", "0.8.0"), ("rand", "0.9.0")]);
        for (own, differ) in [
            (&[("h2", "0.4.1"), ("libfuzzer-sys", "0.4.13")][..], false),
            (&[("rand", "0.8.0")], false),
            (&[("rand", "0.8.1")], true),
            (&[("h2", "0.4.2")], true),
        ] {
            assert_eq!(compare(&gateway, &lock(own)).len(), usize::from(differ), "{own:?}");
        }
    }
}
