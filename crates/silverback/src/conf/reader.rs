//! Reads one property after another from the collected values, resolving secret references on the way.

use super::error::Problem;
use super::kinds::Kind;
use super::source::Values;
use super::vault::EnvironmentVault;

/// Collects the problems, so that all are reported at once.
pub(super) struct Reader<'a> {
    values: &'a Values,
    vault: EnvironmentVault<'a>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let prefix = values.given.get("vault_env_prefix").map_or("", |given| given.text.as_str());
        Self { values, vault: EnvironmentVault { prefix: prefix.to_owned(), environment }, problems: Vec::new() }
    }

    /// The property's value, or `None` after a problem was noted.
    pub(super) fn read<T: Kind>(&mut self, name: &str, default: &str) -> Option<T> {
        let given = self.values.given.get(name).filter(|given| !is_unset(&given.text));
        let Some(given) = given else {
            // A default that does not parse would be a mistake in the table; a test reads every one.
            return if default.is_empty() { T::unset().or_else(|| T::parse("").ok()) } else { T::parse(default).ok() };
        };
        let text = self.resolve(name, &given.text)?;
        if text.is_empty() {
            return T::unset().or_else(|| T::parse(default).ok());
        }
        match T::parse(&text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                // What a reference stands for is never shown.
                let shown = if T::SECRET { "******" } else { &given.text };
                let message = wrong.message(name, shown);
                self.problems.push(Problem { message, origin: Some(given.origin.clone()) });
                None
            }
        }
    }

    /// The text itself, or what its reference stands for.
    pub(super) fn resolve(&mut self, name: &str, text: &str) -> Option<String> {
        if !text.starts_with("{vault://") || name.starts_with("vault_") {
            return Some(text.to_owned());
        }
        match self.vault.resolve(text) {
            Ok(secret) => Some(secret),
            Err(reason) => {
                let message = format!("failed to dereference '{text}': {reason} for config option '{name}'");
                let origin = self.values.given.get(name).map(|given| given.origin.clone());
                self.problems.push(Problem { message, origin });
                None
            }
        }
    }
}

/// Kong's two ways of writing "no value", and what its default file shows in their place (`pg_ro_host = <pg_host>`): taken
/// by its letter, a token would be the same on every node whose file was uncommented.
pub(super) fn is_unset(text: &str) -> bool {
    const SHOWN: [&str; 3] = ["<name servers parsed from resolv.conf>", "<TTL from responses>", "<random>"];
    let is_other_property = text.starts_with("<pg_") && text.ends_with('>');
    text.is_empty() || text == "NONE" || is_other_property || SHOWN.contains(&text)
}
