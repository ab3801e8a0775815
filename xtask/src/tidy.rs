//! The rules of ARCHITECTURE.md and STYLE.md that neither rustfmt nor clippy knows, as code. `make check` and a test
//! of this crate run them.

mod absences;
mod changelog;
mod dependencies;
mod files;
mod licences;
mod links;
mod locks;
#[cfg(test)]
mod tests;

use crate::project;
use anyhow::{Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// One place that breaks a rule, with what would be right.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Relative to the workspace.
    path: PathBuf,
    /// Counted from 1; 0 where the whole file is meant.
    line: usize,
    message: String,
}

/// A file of the project: its path relative to the workspace and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.path.display())?;
        if self.line > 0 {
            write!(out, ":{}", self.line)?;
        }
        write!(out, ": {}", self.message)
    }
}

impl Violation {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Violation {
        Violation { path: path.into(), line, message: message.into() }
    }
}

pub(crate) fn run() -> Result<()> {
    let violations = check(&project::root())?;
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("{count} places break a rule of the project"),
    }
}

fn check(root: &Path) -> Result<Vec<Violation>> {
    let rust = sources(root, "rs")?;
    // What stands beside a plugin's code becomes part of its page in docs/plugins, whose links are those that count.
    let is_page = |source: &Source| !(source.path.starts_with("crates/plugins") && source.path.ends_with("docs.md"));
    let pages: Vec<Source> = sources(root, "md")?.into_iter().filter(is_page).collect();
    let mut found = dependencies::check(root)?;
    found.extend(files::check(&rust));
    found.extend(absences::check(&rust));
    found.extend(changelog::check(&pages));
    found.extend(links::check(root, &pages));
    found.extend(licences::check(root)?);
    found.extend(locks::check(root)?);
    Ok(found)
}

/// All files of the project with that extension, sorted by path.
fn sources(root: &Path, extension: &str) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let text = project::read(&path)?;
                found.push(Source { path: path.strip_prefix(root)?.to_path_buf(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Tests and measurements may be longer than code and may do what code may not.
fn is_test(path: &Path) -> bool {
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    parts.any(|part| {
        ["tests", "tests.rs", "examples", "benches", "e2e"].contains(&&*part) || part.ends_with("_tests.rs")
    })
}
