//! The rules that one property's type cannot tell: ranges, properties that need each other, files that must be there.

use std::path::Path;

use super::certificates::{self, Unusable};
use super::choices::{CipherSuite, ClusterMtls, Database, Role};
use super::ciphers::tls12;
use super::directives::Block;
use super::error::Problem;
use super::pem::{Pem, PemKey};
use super::properties::Conf;
use super::source::Values;

/// The formats of access logs that need no definition.
const BUILT_IN_FORMATS: [&str; 3] = ["kong_log_format", "combined", "json"];

/// The problems of a configuration whose properties are each fine.
pub(super) fn check(conf: &Conf, values: &Values) -> Vec<Problem> {
    let mut checks = Checks { values, problems: Vec::new() };
    checks.database(conf);
    checks.cluster(conf);
    checks.numbers(conf);
    checks.texts(conf);
    checks.certificates(conf);
    checks.files(conf);
    checks.log_formats(conf);
    checks.problems
}

struct Checks<'a> {
    values: &'a Values,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    fn refuse(&mut self, property: &str, message: String) {
        let origin = self.values.given.get(property).map(|given| given.origin.clone());
        self.problems.push(Problem { message, origin });
    }

    fn unless(&mut self, good: bool, property: &str, message: impl FnOnce() -> String) {
        if !good {
            self.refuse(property, message());
        }
    }

    fn database(&mut self, conf: &Conf) {
        let both = conf.declarative_config.is_some() && conf.declarative_config_string.is_some();
        self.unless(!both, "declarative_config_string", || {
            "declarative_config and declarative_config_string cannot both be set".to_owned()
        });
    }

    fn cluster(&mut self, conf: &Conf) {
        match conf.role {
            Role::Traditional => return,
            Role::ControlPlane => {
                self.unless(conf.database != Database::Off, "role", || {
                    "in-memory storage can not be used when role = \"control_plane\"".to_owned()
                });
                self.unless(!conf.admin_listen.is_empty(), "role", || {
                    "admin_listen must be specified when role = \"control_plane\"".to_owned()
                });
            }
            Role::DataPlane => {
                self.unless(conf.database == Database::Off, "role", || {
                    "only in-memory storage can be used when role = \"data_plane\"\n\
                     Hint: set database = off in your kong.conf"
                        .to_owned()
                });
                self.unless(!conf.proxy_listen.is_empty(), "role", || {
                    "proxy_listen must be specified when role = \"data_plane\"".to_owned()
                });
            }
        }
        self.unless(conf.cluster_cert.is_some() && conf.cluster_cert_key.is_some(), "role", || {
            "cluster certificate and key must be provided to use Hybrid mode".to_owned()
        });
        let pki_is_complete = conf.cluster_mtls == ClusterMtls::Shared || conf.cluster_ca_cert.is_some();
        self.unless(pki_is_complete, "cluster_mtls", || {
            "cluster_ca_cert must be set when cluster_mtls = \"pki\"".to_owned()
        });
        let name = conf.role.as_str();
        self.refuse("role", format!("role '{name}' is not supported by this version yet: use traditional"));
    }

    fn numbers(&mut self, conf: &Conf) {
        let limits = [
            ("lua_max_req_headers", conf.lua_max_req_headers),
            ("lua_max_resp_headers", conf.lua_max_resp_headers),
            ("lua_max_uri_args", conf.lua_max_uri_args),
            ("lua_max_post_args", conf.lua_max_post_args),
        ];
        for (name, number) in limits {
            self.unless((1..=1000).contains(&number), name, || {
                format!("{name} must be an integer between 1 and 1000: '{number}'")
            });
        }
        self.unless(conf.cluster_data_plane_purge_delay >= 60, "cluster_data_plane_purge_delay", || {
            "cluster_data_plane_purge_delay must be 60 or greater".to_owned()
        });
        self.unless(conf.cluster_max_payload >= 4_194_304, "cluster_max_payload", || {
            "cluster_max_payload must be 4194304 (4MB) or greater".to_owned()
        });
        self.unless(conf.worker_events_max_payload <= 16_777_216, "worker_events_max_payload", || {
            "worker_events_max_payload must be 16777216 or less".to_owned()
        });
        for (name, rate) in [
            ("tracing_sampling_rate", conf.tracing_sampling_rate),
            ("opentelemetry_tracing_sampling_rate", conf.opentelemetry_tracing_sampling_rate),
        ] {
            self.unless((0.0..=1.0).contains(&rate), name, || format!("{name} must be between 0 and 1: '{rate}'"));
        }
        let seconds = [
            ("upstream_keepalive_idle_timeout", Some(conf.upstream_keepalive_idle_timeout)),
            ("dns_valid_ttl", conf.dns_valid_ttl),
            ("dns_stale_ttl", Some(conf.dns_stale_ttl)),
            ("dns_not_found_ttl", Some(conf.dns_not_found_ttl)),
            ("dns_error_ttl", Some(conf.dns_error_ttl)),
            ("resolver_valid_ttl", conf.resolver_valid_ttl),
            ("resolver_stale_ttl", Some(conf.resolver_stale_ttl)),
            ("resolver_error_ttl", Some(conf.resolver_error_ttl)),
            ("db_update_frequency", Some(conf.db_update_frequency)),
            ("db_update_propagation", Some(conf.db_update_propagation)),
        ];
        for (name, number) in seconds {
            // The upper bound keeps every later conversion to a duration or a deadline safe.
            self.unless(number.is_none_or(|number| (0.0..=1e9).contains(&number)), name, || {
                format!("{name} must be 0 or greater, and at most 1000000000")
            });
        }
    }

    fn texts(&mut self, conf: &Conf) {
        for address in &conf.trusted_ips {
            self.unless(is_network(address) || address == "unix:", "trusted_ips", || {
                format!(
                    "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address or CIDR block or \
                     'unix:', got '{address}'"
                )
            });
        }
        for mapping in &conf.port_maps {
            self.unless(split_port_map(mapping).is_some(), "port_maps", || {
                format!("invalid port mapping (`port_maps`): {mapping} (expected <published>:<listening>)")
            });
        }
        if let Some(id) = &conf.node_id {
            self.unless(uuid::Uuid::parse_str(id).is_ok(), "node_id", || {
                format!("node_id must be a valid UUID: '{id}'")
            });
        }
        for (name, list, allowed) in [
            ("dns_order", &conf.dns_order, &["LAST", "A", "AAAA", "CNAME", "SRV"][..]),
            ("resolver_family", &conf.resolver_family, &["A", "AAAA", "SRV"][..]),
        ] {
            for entry in list {
                self.unless(allowed.contains(&entry.to_ascii_uppercase().as_str()), name, || {
                    format!("{name}: invalid entry '{entry}' ({})", allowed.join(", "))
                });
            }
        }
        for (name, list) in [("dns_resolver", &conf.dns_resolver), ("resolver_address", &conf.resolver_address)] {
            for server in list {
                self.unless(name_server(server).is_some(), name, || {
                    format!(
                        "{name} must be a comma separated list in the form of IPv4/6 or IPv4/6:port, got '{server}'"
                    )
                });
            }
        }
        for protocol in conf.ssl_protocols.split_whitespace() {
            let known = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
            self.unless(known.contains(&protocol), "ssl_protocols", || {
                format!("ssl_protocols has an invalid entry: '{protocol}' ({})", known.join(", "))
            });
        }
        self.ciphers(conf);
        if let Some(proxy) = &conf.proxy_server {
            let url = proxy.reveal();
            self.unless(url.starts_with("http://") || url.starts_with("https://"), "proxy_server", || {
                "proxy_server missing scheme: expected http://<host>[:<port>] or https://<host>[:<port>]".to_owned()
            });
        }
        self.unless(conf.admin_gui_path.starts_with('/'), "admin_gui_path", || {
            "admin_gui_path must start with a slash ('/')".to_owned()
        });
        let path = &conf.admin_gui_path;
        self.unless(path == "/" || !path.ends_with('/'), "admin_gui_path", || {
            "admin_gui_path must not end with a slash ('/')".to_owned()
        });
    }

    /// What `ssl_protocols` and `ssl_ciphers` leave to agree on with a client.
    fn ciphers(&mut self, conf: &Conf) {
        let is_custom = conf.ssl_cipher_suite == CipherSuite::Custom;
        let (property, text) = match conf.directive(Block::Proxy, "ssl_protocols") {
            Some(text) if conf.nginx_http_ssl_protocols.as_deref() == Some(text) => ("nginx_http_ssl_protocols", text),
            Some(text) => ("nginx_proxy_ssl_protocols", text),
            None if is_custom => ("ssl_protocols", conf.ssl_protocols.as_str()),
            None => return,
        };
        let of = |name: &str| text.split_whitespace().any(|word| word == name);
        self.unless(of("TLSv1.2") || of("TLSv1.3"), property, || {
            format!("{property} has none of the versions that are offered: '{text}' (TLSv1.2, TLSv1.3)")
        });
        let is_empty = is_custom && conf.ssl_ciphers.as_deref().is_some_and(|list| tls12(list).is_empty());
        self.unless(!is_empty || of("TLSv1.3"), "ssl_ciphers", || {
            "ssl_ciphers names no cipher that is offered for TLS 1.2, the only version in ssl_protocols: ECDHE with AES-GCM or \
             CHACHA20, for example ECDHE-RSA-AES128-GCM-SHA256"
                .to_owned()
        });
    }

    fn certificates(&mut self, conf: &Conf) {
        let optional = |cert: &Option<Pem>| cert.iter().cloned().collect::<Vec<_>>();
        let optional_key = |key: &Option<PemKey>| key.iter().cloned().collect::<Vec<_>>();
        let pairs: [(&str, Vec<Pem>, Vec<PemKey>); 6] = [
            ("ssl_cert", conf.ssl_cert.clone(), conf.ssl_cert_key.clone()),
            ("admin_ssl_cert", conf.admin_ssl_cert.clone(), conf.admin_ssl_cert_key.clone()),
            ("admin_gui_ssl_cert", conf.admin_gui_ssl_cert.clone(), conf.admin_gui_ssl_cert_key.clone()),
            ("status_ssl_cert", conf.status_ssl_cert.clone(), conf.status_ssl_cert_key.clone()),
            ("client_ssl_cert", optional(&conf.client_ssl_cert), optional_key(&conf.client_ssl_cert_key)),
            ("cluster_cert", optional(&conf.cluster_cert), optional_key(&conf.cluster_cert_key)),
        ];
        for (name, certs, keys) in pairs {
            let key_name = format!("{name}_key");
            match (certs.len(), keys.len()) {
                (0, 0) => {}
                (0, _) => self.refuse(&key_name, format!("{name} must be specified")),
                (_, 0) => self.refuse(name, format!("{key_name} must be specified")),
                (certs, keys) => self.unless(certs == keys, name, || {
                    format!("{name} and {key_name} must have the same number of entries: {certs} and {keys}")
                }),
            }
            let before = self.problems.len();
            for path in certs.iter().filter_map(Pem::file) {
                self.readable(name, path);
            }
            for path in keys.iter().filter_map(PemKey::file) {
                self.readable(&key_name, path);
            }
            if self.problems.len() > before {
                continue;
            }
            for (cert, key) in certs.iter().zip(&keys) {
                match certificates::pair(cert, key) {
                    Ok(()) => {}
                    Err(Unusable::Certificate(problem)) => self.refuse(name, format!("{name}: {problem}")),
                    Err(Unusable::Key(problem)) => self.refuse(&key_name, format!("{key_name}: {problem}")),
                    Err(Unusable::Pair(problem)) => {
                        self.refuse(&key_name, format!("{name} and {key_name} do not belong together: {problem}"));
                    }
                }
            }
        }
        let needs_pair = conf.client_ssl && conf.client_ssl_cert.is_none();
        self.unless(!needs_pair, "client_ssl", || "client_ssl_cert must be specified when client_ssl is on".to_owned());
        let is_system = |pem: &&Pem| pem.file() == Some(Path::new("system"));
        for pem in conf.lua_ssl_trusted_certificate.iter().filter(|pem| !is_system(pem)) {
            let before = self.problems.len();
            if let Some(path) = pem.file() {
                self.readable("lua_ssl_trusted_certificate", path);
            }
            if self.problems.len() == before
                && let Err(problem) = certificates::certificate(pem)
            {
                self.refuse("lua_ssl_trusted_certificate", format!("lua_ssl_trusted_certificate: {problem}"));
            }
        }
        if let Some(path) = conf.cluster_ca_cert.as_ref().and_then(Pem::file) {
            self.readable("cluster_ca_cert", path);
        }
    }

    fn files(&mut self, conf: &Conf) {
        for (name, path) in [
            ("error_template_html", &conf.error_template_html),
            ("error_template_json", &conf.error_template_json),
            ("error_template_xml", &conf.error_template_xml),
            ("error_template_plain", &conf.error_template_plain),
            ("declarative_config", &conf.declarative_config),
        ] {
            if let Some(path) = path {
                self.readable(name, path);
            }
        }
    }

    /// Formats of access logs: those that are named must be there, and each variable of theirs be known.
    fn log_formats(&mut self, conf: &Conf) {
        for (property, log) in [
            ("proxy_access_log", &conf.proxy_access_log),
            ("admin_access_log", &conf.admin_access_log),
            ("status_access_log", &conf.status_access_log),
        ] {
            let Some(name) = &log.format else { continue };
            match conf.log_format(name) {
                Some(text) => {
                    if let Err(reason) = proxy::CustomFormat::compile(text) {
                        let message = format!("{property}: the log format '{name}' cannot be used: {reason}");
                        self.refuse("nginx_http_log_format", message);
                    }
                }
                None => self.unless(BUILT_IN_FORMATS.contains(&name.as_str()), property, || {
                    let known = BUILT_IN_FORMATS.join(", ");
                    format!(
                        "{property}: unknown log format '{name}' ({known}, or one of your own by nginx_http_log_format = \
                         {name} '...')"
                    )
                }),
            }
        }
    }

    fn readable(&mut self, property: &str, path: &Path) {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                if let Err(error) = std::fs::File::open(path) {
                    self.refuse(property, format!("{property}: could not read {}: {error}", path.display()));
                }
            }
            Ok(_) => self.refuse(property, format!("{property}: {} is not a file", path.display())),
            Err(_) => self.refuse(property, format!("{property}: no such file at {}", path.display())),
        }
    }
}

fn is_network(text: &str) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

/// The ports of an entry of `port_maps`: published and listening.
pub(super) fn split_port_map(text: &str) -> Option<(u16, u16)> {
    let (published, listening) = text.split_once(':')?;
    let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port > 0);
    Some((port(published)?, port(listening)?))
}

/// The address of an entry of `dns_resolver`; port 53 when none is named.
pub(super) fn name_server(text: &str) -> Option<std::net::SocketAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    text.parse().ok().or_else(|| Some(std::net::SocketAddr::new(bare.parse().ok()?, 53)))
}
