//! kong.conf in the data plane's terms.

use super::certificates::{client_certificate, default_certificate};
use super::config_line::Vaults;
use crate::conf::{self, Block, Conf, ErrorType, LogFile, Pem, RealIpHeader, RouterFlavor};
use anyhow::Context as _;
use entities::Catalog;
use pdk::trace::{Instrumentations, Tracing};
use pdk::{Definition, Format, Node};
use proxy::{
    AccessLog, CustomFormat, Environment, HeadLimits, HeaderTokens, Limits, LogFormat, LogTarget, PoolSettings,
    SyslogTarget, TrustedIps, Upstreams, dns,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The plugins that `plugins` lets be configured.
pub(super) fn enabled_plugins(conf: &Conf, all: &[Definition]) -> Vec<Definition> {
    let named = &conf.plugins;
    let is_on = |name: &str| named.iter().any(|n| n == name || n == "bundled");
    all.iter().filter(|p| is_on(p.name)).cloned().collect()
}

/// Kong's own plugins that may be missing here: named in `plugins` they are told, not refused.
const OF_KONG: [&str; 13] = [
    "acme",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-proxy",
    "ai-request-transformer",
    "ai-response-transformer",
    "aws-lambda",
    "azure-functions",
    "grpc-gateway",
    "grpc-web",
    "post-function",
    "pre-function",
];

/// Whether every plugin that `plugins` names is there. A gateway must not start without one that was to guard it.
pub(super) fn check_plugins(conf: &Conf, all: &[Definition]) -> anyhow::Result<()> {
    let known = |name: &str| matches!(name, "bundled" | "off") || all.iter().any(|p| p.name == name);
    let missing: Vec<&str> = conf.plugins.iter().map(String::as_str).filter(|name| !known(name)).collect();
    if let Some(name) = missing.iter().find(|name| !OF_KONG.contains(name)) {
        let nearest = all.iter().map(|p| (strsim::normalized_damerau_levenshtein(name, p.name), p.name));
        let nearest =
            nearest.max_by(|(one, _), (other, _)| one.total_cmp(other)).filter(|(likeness, _)| *likeness > 0.7);
        let hint = nearest.map_or_else(String::new, |(_, nearest)| format!("; did you mean {nearest}?"));
        anyhow::bail!("plugins: '{name}' is enabled, but no such plugin is installed{hint}");
    }
    if !missing.is_empty() {
        log::warn!("plugins: not in this version, and so not enabled: {}", missing.join(", "));
    }
    Ok(())
}

pub(super) fn catalog_flavor(conf: &Conf) -> entities::RouterFlavor {
    match conf.router_flavor {
        RouterFlavor::Traditional => entities::RouterFlavor::Traditional,
        RouterFlavor::TraditionalCompatible => entities::RouterFlavor::TraditionalCompatible,
        RouterFlavor::Expressions => entities::RouterFlavor::Expressions,
    }
}

pub(crate) fn router_flavor(conf: &Conf) -> router::Flavor {
    match conf.router_flavor {
        RouterFlavor::Traditional => router::Flavor::Traditional,
        RouterFlavor::TraditionalCompatible => router::Flavor::TraditionalCompatible,
        RouterFlavor::Expressions => router::Flavor::Expressions,
    }
}

pub(super) fn dns(conf: &Conf) -> dns::Settings {
    let seconds = Duration::from_secs_f64;
    let kinds = |names: &[String]| names.iter().filter_map(|kind| dns::Kind::from_name(kind)).collect::<Vec<_>>();
    let settings = dns::Settings { nameservers: conf.name_servers(), ..dns::Settings::default() };
    if conf.new_dns_client {
        return dns::Settings {
            order: dns::Settings::family_order(&kinds(&conf.resolver_family)),
            hosts_file: conf.resolver_hosts_file.clone(),
            valid_ttl: conf.resolver_valid_ttl.map(seconds),
            stale_ttl: seconds(conf.resolver_stale_ttl),
            not_found_ttl: seconds(conf.resolver_error_ttl),
            error_ttl: seconds(conf.resolver_error_ttl),
            cache_size: conf.resolver_lru_cache_size as usize,
            ..settings
        };
    }
    dns::Settings {
        order: kinds(&conf.dns_order),
        hosts_file: conf.dns_hostsfile.clone(),
        valid_ttl: conf.dns_valid_ttl.map(seconds),
        stale_ttl: seconds(conf.dns_stale_ttl),
        not_found_ttl: seconds(conf.dns_not_found_ttl),
        error_ttl: seconds(conf.dns_error_ttl),
        cache_size: conf.dns_cache_size as usize,
        ..settings
    }
}

pub(super) fn environment(
    conf: &Conf,
    plugins: Arc<[Definition]>,
    upstreams: Arc<Upstreams>,
    vaults: &Arc<Vaults>,
) -> anyhow::Result<Environment> {
    let (own, vaults) = (conf.clone(), vaults.clone());
    let secrets = move |reference: &str| {
        let vaults = vaults.read().unwrap_or_else(PoisonError::into_inner);
        own.resolve_with(reference, &vaults).ok()
    };
    let mut trusted_certificates = Vec::new();
    for text in trusted_authorities(conf)? {
        trusted_certificates.extend(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    }
    ::plugins::trust_authorities(trusted_certificates.iter().cloned());
    ::plugins::proxy_cache::bound(conf.mem_cache_size.bytes);
    ::plugins::spill_logs_to(conf.prefix.join("log-queues"));
    Ok(Environment {
        flavor: router_flavor(conf),
        plugins,
        secrets: Arc::new(secrets),
        upstreams,
        default_certificate: Some(default_certificate(conf)?),
        verify_upstreams: conf.directive(Block::Proxy, "proxy_ssl_verify") == Some("on"),
        verify_depth: conf.directive(Block::Proxy, "proxy_ssl_verify_depth").and_then(|n| n.parse().ok()).unwrap_or(1),
        client_certificate: client_certificate(conf)?,
        upstream_http2: conf.directive(Block::Proxy, "proxy_http_version") == Some("2"),
        trusted_certificates,
        tracing: tracing(conf)?,
    })
}

/// The texts of `lua_ssl_trusted_certificate`, in PEM.
pub(crate) fn trusted_authorities(conf: &Conf) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |pem: &Pem| match pem.file().and_then(|file| file.to_str()) {
        Some("system") => Ok(system_authorities()),
        _ => pem.read().context("lua_ssl_trusted_certificate"),
    };
    conf.lua_ssl_trusted_certificate.iter().map(read).collect()
}

/// What is recorded for traces.
fn tracing(conf: &Conf) -> anyhow::Result<Tracing> {
    let mut instrumentations = Instrumentations::NONE;
    for name in &conf.tracing_instrumentations {
        let known = Instrumentations::from_name(name);
        instrumentations = instrumentations
            | known.with_context(|| format!("tracing_instrumentations: '{name}' is no instrumentation there is"))?;
    }
    Ok(Tracing { instrumentations, sampling_rate: conf.tracing_sampling_rate })
}

/// The certificate authorities of the operating system, where distributions keep them.
fn system_authorities() -> Vec<u8> {
    let places = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    places.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
}

fn limits(conf: &Conf) -> Limits {
    let http = conf.http(Block::Proxy);
    let (count, line) = http.large_client_header_buffers;
    let line = usize::try_from(line).unwrap_or(usize::MAX).min(1 << 20);
    Limits {
        head: HeadLimits { line, total: line * count as usize, ..HeadLimits::default() },
        requests: http.keepalive_requests.into(),
        keep_alive: http.keepalive_timeout,
        head_timeout: http.client_header_timeout,
        body_timeout: http.client_body_timeout,
        send_timeout: http.send_timeout,
        ..Limits::default()
    }
}

pub(super) fn proxy(conf: &Conf, workspace: Option<Uuid>) -> anyhow::Result<proxy::Settings> {
    let template = |path: &Option<PathBuf>| -> anyhow::Result<Option<Arc<str>>> {
        let Some(path) = path else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| format!("the error template {}", path.display()))?;
        Ok(Some(text.into()))
    };
    let trusted = TrustedIps::new(conf.trusted_ips.iter().map(String::as_str));
    let tokens = &conf.headers;
    let http = conf.http(Block::Proxy);
    Ok(proxy::Settings {
        limits: limits(conf),
        tokens: HeaderTokens {
            server: tokens.server,
            via: tokens.via,
            proxy_latency: tokens.proxy_latency,
            response_latency: tokens.response_latency,
            upstream_latency: tokens.upstream_latency,
            upstream_status: tokens.upstream_status,
            request_id: tokens.request_id,
        },
        upstream_request_id: conf.headers_upstream == crate::conf::UpstreamHeader::RequestId,
        trusted_ips: trusted.map_err(|entry| anyhow::anyhow!("trusted_ips: '{entry}' is no IP address or CIDR"))?,
        real_ip_header: match conf.real_ip() {
            RealIpHeader::ProxyProtocol => proxy::RealIpHeader::ProxyProtocol,
            RealIpHeader::XForwardedFor => proxy::RealIpHeader::Field("x-forwarded-for".to_owned()),
            RealIpHeader::Header(name) => proxy::RealIpHeader::Field(name),
        },
        real_ip_recursive: conf.is_real_ip_recursive(),
        error_default: match conf.error_default_type {
            ErrorType::Plain => Format::Plain,
            ErrorType::Json => Format::Json,
            ErrorType::Xml => Format::Xml,
            ErrorType::Html => Format::Html,
        },
        error_templates: [
            template(&conf.error_template_json)?,
            template(&conf.error_template_plain)?,
            template(&conf.error_template_html)?,
            template(&conf.error_template_xml)?,
        ],
        debug_header: conf.allow_debug_header,
        request_debug: request_debug(conf),
        max_body: http.client_max_body_size,
        body_buffer: body_buffer(conf),
        spool: conf.in_prefix("client_body_temp"),
        pool: PoolSettings {
            size: conf.upstream_keepalive_pool_size as usize,
            max_requests: conf.upstream_keepalive_max_requests.into(),
            idle_timeout: match conf.upstream_keepalive_idle_timeout {
                seconds if seconds > 0.0 => Duration::from_secs_f64(seconds),
                _ => Duration::from_secs(365 * 24 * 3600),
            },
        },
        port_maps: conf.port_maps().into_iter().map(|(public, listen)| (listen, public)).collect(),
        max_request_headers: conf.lua_max_req_headers as usize,
        node: Arc::new(node(conf, workspace)?),
        ..proxy::Settings::default()
    })
}

/// The token of request debugging: the configured one, or a new one; kept in the prefix, as in Kong, for who may read there.
fn request_debug(conf: &Conf) -> Option<String> {
    if !conf.request_debug {
        return None;
    }
    let given = conf.request_debug_token.as_ref().map(|token| token.reveal().to_owned());
    let token = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let path = conf.in_prefix(".request_debug_token");
    match conf::write_file(&path, token.as_bytes(), 0o600) {
        Ok(()) => log::warn!(target: "notice", "[request-debug] token for request debugging: in {}", path.display()),
        Err(error) => log::warn!("the token for request debugging cannot be kept in {}: {error}", path.display()),
    }
    Some(token)
}

/// What of a buffered body is held in memory. Kong's default of 8 KiB is nginx's; a megabyte costs little and saves the file.
fn body_buffer(conf: &Conf) -> usize {
    const USUAL: u64 = 1 << 20;
    let given = conf.http(Block::Proxy).client_body_buffer_size;
    usize::try_from(if given == 8 << 10 { USUAL } else { given }).unwrap_or(usize::MAX)
}

/// What plugins may know of the node.
pub(super) fn node(conf: &Conf, workspace: Option<Uuid>) -> anyhow::Result<Node> {
    Ok(Node {
        id: conf.node_id()?,
        hostname: hostname(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        // Kong's fixed id of the default workspace without a database.
        workspace_id: workspace.unwrap_or(uuid::uuid!("0dc6f45b-8f8d-40d2-a504-473544ee190b")),
    })
}

pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where an access log goes; each thread opens its own.
pub(super) struct LogPlan {
    target: Option<LogTarget>,
    format: LogFormat,
    generation: Arc<AtomicU64>,
}

impl LogPlan {
    pub(super) fn open(&self) -> anyhow::Result<Option<AccessLog>> {
        let Some(target) = &self.target else { return Ok(None) };
        let log = AccessLog::open(target, self.format.clone(), &hostname(), self.generation.clone());
        let place = match target {
            LogTarget::File(path) => path.display().to_string(),
            _ => "stream or syslog server".to_owned(),
        };
        Ok(Some(log.with_context(|| format!("the access log {place} cannot be opened"))?))
    }
}

/// nginx's format of that name, which Kong's has the request id behind.
const COMBINED: &str = r#"'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'"#;

pub(super) fn access_log(log: &LogFile, conf: &Conf, generation: &Arc<AtomicU64>) -> anyhow::Result<LogPlan> {
    let target = match &log.target {
        conf::LogTarget::Off => None,
        conf::LogTarget::Stdout => Some(LogTarget::Stdout),
        conf::LogTarget::Stderr => Some(LogTarget::Stderr),
        conf::LogTarget::File(path) => Some(LogTarget::File(conf.in_prefix(path))),
        conf::LogTarget::Syslog(text) => {
            Some(LogTarget::Syslog(SyslogTarget::parse(text).map_err(anyhow::Error::msg)?))
        }
    };
    let custom = log.format.as_deref().and_then(|name| conf.log_format(name));
    let format = match (custom, log.format.as_deref()) {
        (Some(text), _) => LogFormat::Custom(Arc::new(CustomFormat::compile(text).map_err(anyhow::Error::msg)?)),
        (None, Some("combined")) => {
            LogFormat::Custom(Arc::new(CustomFormat::compile(COMBINED).map_err(anyhow::Error::msg)?))
        }
        (None, Some("json")) => LogFormat::Json,
        (None, _) => LogFormat::Kong,
    };
    Ok(LogPlan { target, format, generation: generation.clone() })
}

/// The declarative configuration to start with, and the file it comes from.
pub(crate) fn declarative(conf: &Conf) -> anyhow::Result<Option<(String, Option<PathBuf>)>> {
    if let Some(text) = &conf.declarative_config_string {
        return Ok(Some((text.reveal().to_owned(), None)));
    }
    let Some(path) = &conf.declarative_config else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Some((text, Some(path.clone()))))
}

/// Loads it; the error is the whole list of what is wrong, as `config parse` prints it.
pub(super) fn load_declarative(
    catalog: &Catalog,
    api: &admin::Api,
    text: &str,
    from: Option<&std::path::Path>,
) -> anyhow::Result<()> {
    if let Err(first) = api.load(text) {
        let file = from.map(|p| p.display().to_string());
        let pretty = crate::commands::describe_invalid(catalog, text, file.as_deref());
        anyhow::bail!("Failed parsing:\n{}", pretty.or(first.message.clone()).unwrap_or_default());
    }
    Ok(())
}
