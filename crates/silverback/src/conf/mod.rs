//! The node's configuration, kong.conf: found, read, checked and typed. Nothing else reads the environment.

mod certificates;
mod checks;
mod choices;
pub(crate) mod ciphers;
mod directives;
mod document;
mod environment;
mod error;
mod file;
mod header_tokens;
mod kinds;
mod listen;
mod log_file;
mod pem;
mod prefix;
mod properties;
mod reader;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod units;
pub mod vault;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use choices::{
    CipherSuite, ClusterMtls, Consistency, Database, ErrorType, Level, LogFormat, Ocsp, Role, RouterFlavor,
    UntrustedLua, UpstreamHeader,
};
pub use directives::{Block, DIRECTIVES, Directive, Form, HttpLimits, RealIpHeader};
pub use document::{default_file, reference};
pub use error::{ConfError, Problem};
pub use header_tokens::Headers;
pub use kinds::{Kind, Secret, Size, Time, Wrong};
pub use listen::{HttpListens, KeepAlive, Listen, Listens, StreamListens};
pub use log_file::{LogFile, LogTarget};
pub use pem::{Pem, PemKey};
pub use properties::{Conf, PROPERTIES};
pub use source::{DEFAULT_FILES, Given, Origin, Source, Values};
pub use table::{Effect, Property};
pub use units::{parse_size, parse_time};

pub(crate) use environment::program;
pub(crate) use prefix::write_file;

use directives::{ALIASES, Injected, split_name};
use reader::{Reader, is_unset};

/// Old names of properties, with the present ones.
const RENAMED: [(&str, &str); 4] = [
    ("admin_api_uri", "admin_gui_api_url"),
    ("privileged_agent", "dedicated_config_processing"),
    ("opentelemetry_tracing", "tracing_instrumentations"),
    ("opentelemetry_tracing_sampling_rate", "tracing_sampling_rate"),
];

/// The families of properties whose names the user makes up.
const DYNAMIC: [&str; 3] = ["pluginserver_", "vault_", "nginx_wasm_"];

/// Set by Kong's own images and charts, and no settings.
const SILENT: [&str; 3] = ["version", "debug_ssl_cert", "debug_ssl_cert_key"];

impl Conf {
    /// Checks what was collected, with this process's environment for secret references.
    ///
    /// # Errors
    /// Every problem, each with its place.
    pub fn new(values: &Values) -> Result<Self, ConfError> {
        Self::with_environment(values, &environment::variable)
    }

    /// As [`Conf::new`], with a given environment.
    ///
    /// # Errors
    /// Every problem, each with its place.
    pub fn with_environment(values: &Values, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfError> {
        let values = with_aliases(values);
        let mut reader = Reader::new(&values, environment);
        let conf = Self::collect(&mut reader);
        let (injected, ignored) = Injected::collect(&values, &mut reader);
        let mut problems = reader.problems;
        let Some(mut conf) = conf else { return Err(ConfError { problems }) };
        conf.injected = injected;
        if conf.prefix.as_os_str().is_empty() {
            conf.prefix = prefix::default_prefix(environment);
        }
        conf.prefix = std::path::absolute(&conf.prefix).unwrap_or(conf.prefix);
        problems.extend(checks::check(&conf, &values));
        if !problems.is_empty() {
            return Err(ConfError { problems });
        }
        conf.extra = values
            .given
            .iter()
            .filter(|(name, _)| DYNAMIC.iter().any(|family| name.starts_with(family)) && *name != "pluginserver_names")
            .map(|(name, given)| (name.clone(), Secret::new(&given.text)))
            .collect();
        conf.warnings = warnings(&values, ignored);
        conf.warnings.extend(conf.flags_without_effect());
        Ok(conf)
    }

    /// What deserves a line at start: unknown properties, and those that are accepted without effect.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Flags of listeners that are accepted without effect.
    fn flags_without_effect(&self) -> Option<String> {
        let servers = [
            ("proxy_listen", &self.proxy_listen),
            ("admin_listen", &self.admin_listen),
            ("status_listen", &self.status_listen),
        ];
        let named = servers.into_iter().filter(|(_, listens)| listens.iter().any(|listen| listen.deferred));
        let named = named.map(|(name, _)| name).collect::<Vec<_>>();
        (!named.is_empty()).then(|| format!("the flag deferred has no effect in this version: {}", named.join(", ")))
    }

    /// A property whose name the user made up (`pluginserver_<name>_socket`, `vault_env_prefix`).
    #[must_use]
    pub fn dynamic(&self, name: &str) -> Option<&str> {
        self.extra.get(name).map(Secret::reveal)
    }

    /// The secret behind a reference `{vault://env/...}`, from this process's environment.
    ///
    /// # Errors
    /// Why there is none; never with a part of a secret.
    pub fn resolve(&self, reference: &str) -> Result<String, String> {
        self.resolve_with(reference, &vault::Prefixes::new())
    }

    /// As [`Conf::resolve`], also for references that begin with the prefix of a vault entity.
    ///
    /// # Errors
    /// Why there is none; never with a part of a secret.
    pub fn resolve_with(&self, reference: &str, vaults: &vault::Prefixes) -> Result<String, String> {
        if !self.vaults.iter().any(|name| name == "bundled" || name == "env") {
            return Err("the property vaults allows none".to_owned());
        }
        let prefix = self.dynamic("vault_env_prefix").unwrap_or_default().to_owned();
        vault::EnvironmentVault { prefix, environment: &environment::variable }.resolve_with(reference, vaults)
    }

    /// A path of the configuration: absolute, or below the prefix.
    #[must_use]
    pub fn in_prefix(&self, path: impl AsRef<Path>) -> PathBuf {
        self.prefix.join(path)
    }

    /// `port_maps` as pairs of the published and the listening port.
    #[must_use]
    pub fn port_maps(&self) -> Vec<(u16, u16)> {
        self.port_maps.iter().filter_map(|text| checks::split_port_map(text)).collect()
    }

    /// The name servers of `dns_resolver`; none means those of the system.
    #[must_use]
    pub fn name_servers(&self) -> Vec<SocketAddr> {
        let servers = if self.new_dns_client { &self.resolver_address } else { &self.dns_resolver };
        servers.iter().filter_map(|text| checks::name_server(text)).collect()
    }

    /// What the Admin API shows as the node's configuration; secrets are `******`, unset properties absent.
    #[must_use]
    pub fn dump(&self) -> Value {
        let mut shown = self.dump_properties();
        for (property, text) in self.injected.properties() {
            // Given directives of no property of their own; the others are there already with their text.
            shown.insert(property, text.into());
        }
        for (name, text) in &self.extra {
            // Settings of vaults may be credentials of them.
            let is_plain = !name.starts_with("vault_") || name.ends_with("_prefix") || name.ends_with("ttl");
            shown.insert(name.clone(), json!(if is_plain { text.reveal() } else { "******" }));
        }
        let parsed = [
            ("proxy_listeners", self.proxy_listen.dump_parsed(), self.proxy_listen.iter().any(|listen| listen.ssl)),
            ("stream_listeners", self.stream_listen.dump_parsed(), self.stream_listen.iter().any(|listen| listen.ssl)),
            ("admin_listeners", self.admin_listen.dump_parsed(), self.admin_listen.iter().any(|listen| listen.ssl)),
            (
                "admin_gui_listeners",
                self.admin_gui_listen.dump_parsed(),
                self.admin_gui_listen.iter().any(|listen| listen.ssl),
            ),
            ("status_listeners", self.status_listen.dump_parsed(), self.status_listen.iter().any(|listen| listen.ssl)),
            ("cluster_listeners", self.cluster_listen.dump_parsed(), true),
        ];
        for (name, listeners, ssl) in parsed {
            let server = name.trim_end_matches("_listeners");
            shown.insert(name.to_owned(), listeners);
            shown.insert(format!("{server}_ssl_enabled"), json!(ssl));
        }
        shown.insert("enabled_headers".to_owned(), self.headers.dump_enabled());
        let mut host_ports = serde_json::Map::new();
        for (published, listening) in self.port_maps() {
            host_ports.insert(listening.to_string(), json!(published));
        }
        shown.insert("host_ports".to_owned(), Value::Object(host_ports));
        Value::Object(shown)
    }
}

/// Gives aliases and their targets each other's values; the full name wins when both are set.
fn with_aliases(values: &Values) -> Values {
    let mut values = values.clone();
    for (alias, target) in ALIASES.iter().chain(&RENAMED) {
        if let (Some(given), None) = (values.given.get(*alias).cloned(), values.given.get(*target)) {
            values.given.insert((*target).to_owned(), given);
        } else if let (Some(given), true) = (values.given.get(*target).cloned(), ALIASES.contains(&(*alias, *target))) {
            values.given.insert((*alias).to_owned(), given);
        }
    }
    values
}

fn warnings(values: &Values, ignored_directives: Vec<String>) -> Vec<String> {
    let mut warnings = values.remarks.clone();
    let mut without_effect = Vec::new();
    for (name, given) in &values.given {
        let row = PROPERTIES.iter().find(|property| property.name == name);
        match row {
            Some(row) if row.effect == Effect::Active || is_unset(&given.text) || given.text == row.default => {}
            Some(row) => without_effect.push(row.name),
            None if is_known(name) => {}
            None => warnings.push(unknown(name, given)),
        }
    }
    if !without_effect.is_empty() {
        without_effect.sort_unstable();
        warnings.push(format!("accepted, without effect in this version: {}", without_effect.join(", ")));
    }
    if !ignored_directives.is_empty() {
        warnings
            .push(format!("nginx directives without a meaning here are ignored: {}", ignored_directives.join(", ")));
    }
    warnings
}

fn is_known(name: &str) -> bool {
    split_name(name).is_some()
        || SILENT.contains(&name)
        || RENAMED.iter().any(|(old, _)| *old == name)
        || DYNAMIC.iter().any(|family| name.starts_with(family))
}

fn unknown(name: &str, given: &Given) -> String {
    let nearest = PROPERTIES
        .iter()
        .map(|property| (strsim::normalized_damerau_levenshtein(name, property.name), property.name))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness > 0.7);
    let hint = nearest.map_or_else(String::new, |(_, nearest)| format!("; did you mean {nearest}?"));
    format!("unknown property '{name}' is ignored ({}){hint}", given.origin)
}
