//! Every link of the docs leads somewhere: files, headings, and the paths of the project named in backticks.

use super::{Source, Violation};
use std::path::{Component, Path, PathBuf};

/// Folders whose paths, named in backticks, must exist. A `<name>` or `*` in the path stands for many.
const OWN_FOLDERS: [&str; 5] = ["crates/", "xtask/", "docs/", "examples/", "changelog.d/"];

pub(super) fn check(root: &Path, pages: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for page in pages {
        for (number, line) in prose(&page.text) {
            for target in targets(line) {
                if let Some(message) = broken(root, pages, page, target) {
                    found.push(Violation::new(&page.path, number, message));
                }
            }
            for path in line.split('`').skip(1).step_by(2).filter(|code| is_own_path(code)) {
                if !root.join(path).exists() {
                    found.push(Violation::new(&page.path, number, format!("`{path}` does not exist")));
                }
            }
        }
    }
    found
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut within_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            within_code = !within_code;
            return None;
        }
        (!within_code).then_some((number + 1, line))
    })
}

/// What the inline links of a line point to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

fn is_own_path(code: &str) -> bool {
    OWN_FOLDERS.iter().any(|folder| code.starts_with(folder)) && !code.contains(['<', '*', ' ', '{', '$'])
}

fn broken(root: &Path, pages: &[Source], page: &Source, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.path.clone() } else { resolve(&page.path, file) };
    let other = pages.iter().find(|other| other.path == path);
    if other.is_none() && !root.join(&path).exists() {
        return Some(format!("the link to {target} leads nowhere"));
    }
    if anchor.is_empty() {
        return None;
    }
    let text = &other?.text;
    let has_heading = prose(text).any(|(_, line)| line.starts_with('#') && slug(line) == anchor);
    (!has_heading).then(|| format!("{} has no heading #{anchor}", path.display()))
}

/// The path a link means, relative to the workspace.
fn resolve(from: &Path, link: &str) -> PathBuf {
    let mut path = from.parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// A heading as the anchor that Markdown viewers make of it.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
