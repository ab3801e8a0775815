//! changelog.d/: one fragment for every visible change, named `<issue>-<what>.<kind>.md` (see its README).

use super::{Source, Violation};

const FOLDER: &str = "changelog.d";
const KINDS: [&str; 6] = ["added", "changed", "fixed", "performance", "removed", "security"];

pub(super) fn check(pages: &[Source]) -> Vec<Violation> {
    let inside = pages.iter().filter(|page| page.path.starts_with(FOLDER) && !page.path.ends_with("README.md"));
    inside.filter_map(check_fragment).collect()
}

fn check_fragment(page: &Source) -> Option<Violation> {
    let wrong = |message: &str| Some(Violation::new(&page.path, 0, message));
    let name = page.path.file_name()?.to_str()?;
    let parts: Vec<&str> = name.split('.').collect();
    let [title, kind, "md"] = parts[..] else {
        return wrong("a fragment is named <issue>-<what>.<kind>.md");
    };
    if !title.split_once('-').is_some_and(|(issue, what)| issue.parse::<u32>().is_ok() && !what.is_empty()) {
        return wrong("a fragment's name starts with the number of its issue: 2-proxying.added.md");
    }
    if !KINDS.contains(&kind) {
        return wrong(&format!("`{kind}` is no kind of change: use one of {}", KINDS.join(", ")));
    }
    let text = page.text.trim();
    if !text.starts_with(|c: char| c.is_uppercase() || c == '`') || !text.ends_with('.') || text.contains("\n#") {
        return wrong("a fragment is one or more whole sentences about what the user sees, without headings");
    }
    None
}
