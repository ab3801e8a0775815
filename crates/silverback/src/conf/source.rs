//! Where the values come from: command line over environment over file over defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::environment::variables;
use super::error::ConfError;
use super::file;

/// Tried in this order when no file is named.
pub const DEFAULT_FILES: [&str; 3] = ["/etc/silverback/silverback.conf", "/etc/kong/kong.conf", "/etc/kong.conf"];

/// Read from low to high precedence.
const ENVIRONMENT_PREFIXES: [&str; 2] = ["KONG_", "SILVERBACK_"];

/// The place a value was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    File { path: PathBuf, line: usize },
    Environment(String),
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "{}, line {line}", path.display()),
            Self::Environment(name) => write!(formatter, "the environment variable {name}"),
            Self::CommandLine(flag) => write!(formatter, "the option {flag} of the command line"),
        }
    }
}

/// A value as text, and where it was set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub text: String,
    pub origin: Origin,
}

/// Any value may be a secret: only its place is shown.
impl fmt::Debug for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "****** ({})", self.origin)
    }
}

/// Everything that was set, by property; not checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    pub given: IndexMap<String, Given>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Remarks on the file that do not keep the node from starting.
    pub remarks: Vec<String>,
}

/// What to read; remembered by a node, so that a reload reads it again.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// The prefix named on the command line.
    pub prefix: Option<PathBuf>,
    /// The variables `KONG_X` and `SILVERBACK_X`.
    pub environment: BTreeMap<String, String>,
}

impl Source {
    /// The options of a command, with this process's environment.
    #[must_use]
    pub fn from_cli(file: Option<&Path>, prefix: Option<&Path>) -> Self {
        let environment = variables(&ENVIRONMENT_PREFIXES);
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { file: file.map(absolute), prefix: prefix.map(absolute), environment }
    }

    /// Reads file and environment.
    ///
    /// # Errors
    /// When the named file is not there or cannot be read.
    pub fn read(&self) -> Result<Values, ConfError> {
        let mut values = Values::default();
        let found = match &self.file {
            Some(path) if !path.exists() => return Err(ConfError::new(format!("no file at: {}", path.display()))),
            Some(path) => Some(path.clone()),
            None => DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists()),
        };
        if let Some(path) = found {
            let text = std::fs::read(&path)
                .map_err(|error| ConfError::new(format!("could not read {}: {error}", path.display())))?;
            let text = String::from_utf8(text).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                ConfError::new(format!("could not read {}: byte {at} is not UTF-8", path.display()))
            })?;
            values.add_file(&path, &text);
        }
        values.add_environment(&self.environment);
        if let Some(prefix) = &self.prefix {
            let text = prefix.to_string_lossy().into_owned();
            values.given.insert("prefix".to_owned(), Given { text, origin: Origin::CommandLine("--prefix".into()) });
        }
        Ok(values)
    }

    /// This source with the settings of another command's environment, options and file over it: what `reload` asks for.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.environment.extend(other.environment.clone());
        merged.file = other.file.clone().or(merged.file);
        merged.prefix = other.prefix.clone().or(merged.prefix);
        merged
    }
}

impl Values {
    pub(super) fn add_file(&mut self, path: &Path, text: &str) {
        let (settings, strange) = file::parse(text);
        for line in strange {
            self.remarks.push(format!("{}, line {line}: ignored, expected 'property = value'", path.display()));
        }
        for setting in settings {
            let origin = Origin::File { path: path.to_owned(), line: setting.line };
            let given = Given { text: setting.value, origin };
            if let Some(before) = self.given.insert(setting.key.clone(), given) {
                self.remarks.push(format!(
                    "{}, line {}: {} is set again (first in {}); the last one counts",
                    path.display(),
                    setting.line,
                    setting.key,
                    before.origin
                ));
            }
        }
        self.file = Some(path.to_owned());
    }

    pub(super) fn add_environment(&mut self, environment: &BTreeMap<String, String>) {
        for prefix in ENVIRONMENT_PREFIXES {
            for (name, value) in environment {
                let Some(key) = name.strip_prefix(prefix) else { continue };
                if key.is_empty() || is_kubernetes_service_link(key) {
                    continue;
                }
                let given = Given { text: value.trim().to_owned(), origin: Origin::Environment(name.clone()) };
                self.given.insert(key.to_ascii_lowercase(), given);
            }
        }
    }
}

/// Kubernetes describes a Service `kong-proxy` to every container as `KONG_PROXY_SERVICE_HOST`, `KONG_PROXY_PORT_80_TCP_ADDR`
/// and so on: no settings of ours, and nothing to warn about.
fn is_kubernetes_service_link(key: &str) -> bool {
    if key.ends_with("_SERVICE_HOST") || key.ends_with("_SERVICE_PORT") || key.contains("_SERVICE_PORT_") {
        return true;
    }
    let after_port = key.split_once("_PORT_").or_else(|| key.split_once("PORT_")).map(|(_, after)| after);
    let is_link = after_port.is_some_and(|after| {
        after.split_once('_').is_some_and(|(number, protocol)| {
            number.bytes().all(|byte| byte.is_ascii_digit())
                && (protocol.starts_with("TCP") || protocol.starts_with("UDP"))
        })
    });
    // `KONG_PROXY_PORT=tcp://10.0.0.1:80`; pg_port and the like are properties.
    is_link || (key.ends_with("_PORT") && !matches!(key, "PG_PORT" | "PG_RO_PORT"))
}
