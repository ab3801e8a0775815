//! Secret references, `{vault://env/<name>[/<key>][?prefix=...][#<version>]}`, and the vault of environment variables.

use std::collections::BTreeMap;

use serde_json::Value;

/// The parts of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// A kind of vault (`env`) or the prefix of a vault entity.
    pub vault: String,
    /// The name of the secret.
    pub resource: String,
    /// The field inside a secret that is a JSON object.
    pub key: Option<String>,
    /// `?name=value` options.
    pub options: Vec<(String, String)>,
    pub version: Option<u32>,
}

impl Reference {
    /// The parts of a text in braces; `None` when it is no reference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("{vault://")?.strip_suffix('}')?;
        let (inner, version) = match inner.rsplit_once('#') {
            Some((inner, version)) => (inner, Some(version.parse().ok()?)),
            None => (inner, None),
        };
        let (path, query) = inner.split_once('?').unwrap_or((inner, ""));
        let options = query.split('&').filter_map(|option| option.split_once('='));
        let (vault, path) = path.split_once('/')?;
        // One element is the secret; of several the last is the key inside it, unless the path ends with a slash.
        let (resource, key) = match (path.strip_suffix('/'), path.rsplit_once('/')) {
            (Some(whole), _) => (whole, None),
            (None, Some((resource, key))) => (resource, Some(key.to_owned())),
            (None, None) => (path, None),
        };
        (!vault.is_empty() && !resource.is_empty()).then(|| Self {
            vault: vault.to_owned(),
            resource: resource.to_owned(),
            key,
            options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            version,
        })
    }
}

/// Vault entities of the kind `env`: by the prefix of references, what the variables' names begin with.
pub type Prefixes = BTreeMap<String, String>;

/// The vault `env`.
pub struct EnvironmentVault<'a> {
    /// Put before every name, from `vault_env_prefix`.
    pub prefix: String,
    /// Looks up a variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl EnvironmentVault<'_> {
    /// The secret a reference stands for.
    ///
    /// # Errors
    /// Why there is none; never with a part of a secret.
    pub fn resolve(&self, text: &str) -> Result<String, String> {
        self.resolve_with(text, &Prefixes::new())
    }

    /// As [`EnvironmentVault::resolve`], among vault entities, too.
    ///
    /// # Errors
    /// Why there is none; never with a part of a secret.
    pub fn resolve_with(&self, text: &str, vaults: &Prefixes) -> Result<String, String> {
        let Some(reference) = Reference::parse(text) else {
            return Err(format!("not a reference: '{text}' ({{vault://env/<name>[/<key>]}})"));
        };
        let own = match reference.vault.as_str() {
            "env" => &self.prefix,
            vault => vaults.get(vault).ok_or_else(|| {
                format!("could not find vault ({vault}); there are env and, outside of the configuration file, vault entities")
            })?,
        };
        let option = reference.options.iter().find(|(name, _)| name == "prefix").map(|(_, value)| value.as_str());
        let prefix = option.unwrap_or(own);
        let mut name = format!("{prefix}{}", reference.resource).to_ascii_uppercase().replace('-', "_");
        if reference.version == Some(2) {
            name.push_str("_PREVIOUS");
        }
        let secret =
            (self.environment)(&name).ok_or_else(|| format!("no value found in the environment variable {name}"))?;
        let Some(key) = &reference.key else { return Ok(secret) };
        let object: Value = serde_json::from_str(&secret)
            .map_err(|_| format!("the environment variable {name} holds no JSON, in which to look for '{key}'"))?;
        match object.get(key) {
            Some(Value::String(value)) => Ok(value.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            _ => Err(format!("the JSON in the environment variable {name} has no text under '{key}'")),
        }
    }
}
