//! The process's environment: the one place that reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A variable; `None` also when it is not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this module is what the rule sends everybody to")]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variables whose names begin with one of the prefixes.
#[expect(clippy::disallowed_methods, reason = "this module is what the rule sends everybody to")]
pub(super) fn variables(prefixes: &[&str]) -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

/// The program as it was called, which after an upgrade of the file is the new one. Links in the path are kept, because an
/// upgrade may consist in pointing one elsewhere.
pub(crate) fn program() -> PathBuf {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() > 1 {
        return std::path::absolute(&called).unwrap_or(called);
    }
    let path = variable("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(&called)).find(|path| path.is_file());
    found.or_else(|| std::env::current_exe().ok()).unwrap_or(called)
}
