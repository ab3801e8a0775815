//! Every Cargo.toml against the table of ARCHITECTURE.md: who may use whom.

use super::Violation;
use crate::project;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const PAGE: &str = "ARCHITECTURE.md";
const HEADER: &str = "| crate | may use |";

/// What a row of the table allows.
#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    All,
    Only(Vec<String>),
}

type Table = BTreeMap<String, Allowed>;

pub(super) fn check(root: &Path) -> Result<Vec<Violation>> {
    let table = parse(&project::read(&root.join(PAGE))?)?;
    let output = project::cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cannot run `cargo metadata`")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(compare(&table, &serde_json::from_slice(&output.stdout)?, root))
}

fn compare(table: &Table, metadata: &Value, root: &Path) -> Vec<Violation> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
        let Some(allowed) = table.get(name) else {
            found.push(Violation::new(manifest, 0, format!("{name} is missing in the table of {PAGE}")));
            continue;
        };
        if let Some(message) = wrong_place(name, manifest) {
            found.push(Violation::new(manifest, 0, message));
        }
        for used in package["dependencies"].as_array().into_iter().flatten() {
            let used = used["name"].as_str().unwrap_or_default();
            let may = match allowed {
                Allowed::All => true,
                Allowed::Only(names) => names.iter().any(|n| n == used),
            };
            if ours.contains(&used) && used != name && !may {
                let message =
                    format!("{name} must not use {used} (table of {PAGE}): put the code where both may see it");
                found.push(Violation::new(manifest, 0, message));
            }
        }
    }
    for name in table.keys().filter(|name| !ours.contains(&name.as_str())) {
        found.push(Violation::new(PAGE, 0, format!("the table names {name}, which is no crate of the workspace")));
    }
    found
}

/// Folder = crate, no prefix.
fn wrong_place(name: &str, manifest: &Path) -> Option<String> {
    let folder = manifest.parent().and_then(Path::file_name)?.to_str()?;
    (folder != name).then(|| format!("the crate {name} lies in a folder named {folder}: use one name for both"))
}

fn parse(page: &str) -> Result<Table> {
    let rows = page.lines().skip_while(|line| line.trim() != HEADER).skip(2).take_while(|line| line.starts_with('|'));
    let mut table = Table::new();
    for row in rows {
        let cells: Vec<&str> = row.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [names, uses] = cells[..] else { bail!("{PAGE}: not two columns: {row}") };
        for name in names.split(',').map(str::trim) {
            let allowed = match uses {
                "all" => Allowed::All,
                "nothing" => Allowed::Only(Vec::new()),
                uses => Allowed::Only(uses.split(',').map(|used| used.trim().to_owned()).collect()),
            };
            if table.insert(name.to_owned(), allowed).is_some() {
                bail!("{PAGE}: {name} stands in the table twice");
            }
        }
    }
    if table.is_empty() {
        bail!("{PAGE} has no table `{HEADER}`");
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
