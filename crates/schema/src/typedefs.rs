//! Kong's named types: fields with their constraints and validators ready.

use std::sync::{Arc, LazyLock};

use crate::record::Shorthand;
use crate::{Check, Deprecation, Field, Map, RecordSchema, json, validators};

/// What services and routes speak, in Kong's order.
pub const PROTOCOLS: [&str; 8] = ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];
pub const PROTOCOLS_HTTP: [&str; 4] = ["grpc", "grpcs", "http", "https"];
/// The longest timeout in milliseconds.
pub const MAX_TIMEOUT: u32 = 2_147_483_646;

pub fn id() -> Field {
    Field::string().uuid(true).auto(true)
}
pub fn auto_timestamp_s() -> Field {
    Field::integer().timestamp(true).auto(true)
}
pub fn auto_timestamp_ms() -> Field {
    Field::number().timestamp(true).auto(true)
}
pub fn host() -> Field {
    Field::string().validator(validators::host)
}
pub fn host_with_optional_port() -> Field {
    Field::string().validator(validators::host_with_optional_port)
}
pub fn wildcard_host() -> Field {
    Field::string().validator(validators::wildcard_host)
}
pub fn sni() -> Field {
    Field::string().validator(validators::sni)
}
pub fn ip() -> Field {
    Field::string().validator(validators::ip)
}
pub fn ip_or_cidr() -> Field {
    Field::string().validator(validators::ip_or_cidr)
}
pub fn cidr_v4() -> Field {
    Field::string().validator(validators::cidr_v4)
}
pub fn port() -> Field {
    Field::integer().between(0, 65535)
}
pub fn timeout() -> Field {
    Field::integer().between(0, MAX_TIMEOUT)
}
pub fn ttl() -> Field {
    Field::number().between(0, 100_000_000)
}
pub fn url() -> Field {
    Field::string().validator(validators::url)
}

const NO_EMPTY_SEGMENTS: [(&str, &str); 1] = [("//", "must not have empty segments")];

pub fn path() -> Field {
    Field::string().starts_with("/").match_none(NO_EMPTY_SEGMENTS).validator(validators::path)
}
pub fn router_path() -> Field {
    Field::string()
        .match_any(["^/", "^~/"], "should start with: / (fixed path) or ~/ (regex path)")
        .match_none(NO_EMPTY_SEGMENTS)
        .validator(validators::router_path)
}
pub fn paths() -> Field {
    Field::array(router_path())
}
/// An element of `hosts`.
pub fn host_with_wildcard() -> Field {
    Field::string()
        .match_all([("^[^*]*%*?[^*]*$", "invalid wildcard: must have at most one wildcard")])
        .match_any(["^%*%.", "%.%*$", "^[^*]*$"], "invalid wildcard: must be placed at leftmost or rightmost label")
        .validator(validators::wildcard_hosts)
}
pub fn hosts() -> Field {
    Field::array(host_with_wildcard())
}
pub fn header_name() -> Field {
    Field::string().validator(validators::header_name)
}
/// Headers to match, by name.
pub fn headers() -> Field {
    headers_with(Field::array(Field::string()))
}
/// The same, with values of this kind.
pub fn headers_with(values: Field) -> Field {
    const HOST: (&str, &str) =
        ("^[Hh][Oo][Ss][Tt]$", "cannot contain 'host' header, which must be specified in the 'hosts' attribute");
    Field::map(header_name().match_none([HOST]), values)
}
pub fn cookie_name() -> Field {
    Field::string().validator(validators::cookie_name)
}
pub fn http_method() -> Field {
    Field::string().pattern("^%u+$")
}
pub fn methods() -> Field {
    Field::set(http_method())
}
pub fn name() -> Field {
    Field::string().validator(validators::name)
}
pub fn utf8_name() -> Field {
    Field::string().validator(validators::utf8_name)
}
pub fn tag() -> Field {
    Field::string().required(true).validator(validators::tag)
}
pub fn tags() -> Field {
    Field::set(tag())
}
pub fn certificate() -> Field {
    Field::string().validator(validators::certificate)
}
pub fn key() -> Field {
    Field::string().validator(validators::key)
}
pub fn semantic_version() -> Field {
    Field::string()
        .match_any(["^%d+[%.%d]*$", "^%d+[%.%d]*%-?.*$"], "invalid version number: must be in format of X.Y.Z")
        .match_none([("%.%.", "must not have empty version segments")])
}
pub fn jwk() -> Field {
    Field::string().referenceable(true).encrypted(true).validator(validators::jwk)
}

static PEM: LazyLock<Arc<RecordSchema>> = LazyLock::new(|| {
    Arc::new(
        RecordSchema::new([
            ("private_key", Field::string().referenceable(true).encrypted(true)),
            ("public_key", Field::string().referenceable(true)),
        ])
        .check(Check::at_least_one_of(["private_key", "public_key"]))
        .validator(validators::pem),
    )
});

/// A pair of keys; not required.
pub fn pem() -> Field {
    Field::record(Arc::clone(&PEM)).required(false)
}

/// Lua code by name, each piece compiling on its own.
pub fn lua_code() -> Field {
    let code = |value: &crate::Value| {
        crate::lua::syntax(value.as_str().unwrap_or_default()).map_err(|err| format!("Error parsing function: {err}"))
    };
    Field::map(Field::string().len_min(1), Field::string().len_min(1).validator(code))
}

/// A plugin's protocols: http ones by default, any allowed.
pub fn protocols() -> Field {
    Field::set(Field::string().one_of(PROTOCOLS)).required(true).default(PROTOCOLS_HTTP)
}
pub fn protocols_http() -> Field {
    Field::set(Field::string().one_of(PROTOCOLS_HTTP)).required(true).default(PROTOCOLS_HTTP)
}
pub fn no_consumer() -> Field {
    Field::foreign("consumers").null()
}
pub fn no_service() -> Field {
    Field::foreign("services").null()
}
pub fn no_route() -> Field {
    Field::foreign("routes").null()
}

static ENDPOINT: LazyLock<Arc<RecordSchema>> = LazyLock::new(|| {
    Arc::new(RecordSchema::new([("ip", ip_or_cidr()), ("port", port())]).check(Check::at_least_one_of(["ip", "port"])))
});

/// Addresses of clients to match.
pub fn sources() -> Field {
    Field::set(Field::record(Arc::clone(&ENDPOINT)))
}
/// Addresses of listeners to match.
pub fn destinations() -> Field {
    sources()
}

/// A server of a Redis: `host` or `ip`, and `port`.
fn redis_nodes(name: &'static str, default_port: u16) -> Field {
    let node = RecordSchema::new([(name, host().required(true)), ("port", port().default(default_port))]);
    Field::array(Field::record(Arc::new(node))).len_min(1).hidden(true)
}

static REDIS: LazyLock<Arc<RecordSchema>> = LazyLock::new(|| {
    const UNUSED: &str = "Without effect: a thread has one connection to each server.";
    let hidden = |field: Field, description| field.hidden(true).description(description);
    let password = Field::string().referenceable(true).encrypted(true).len_min(0);
    let ssl_verify = Field::boolean().required(false).default(false);
    let role = Field::string().one_of(["master", "slave", "any"]);
    let sentinel_password = Field::string().referenceable(true).encrypted(true);
    Arc::new(
        RecordSchema::new([
            ("host", host().description("The server's name or address.")),
            ("port", port().default(6379).description("The server's port.")),
            ("timeout", timeout().default(2000).description("Milliseconds to connect, and for a command.")),
            (
                "username",
                Field::string().referenceable(true).description("The ACL user; without one, the default user."),
            ),
            ("password", password.description("The user's password.")),
            ("database", Field::integer().default(0).description("The number of the database.")),
            ("ssl", Field::boolean().required(false).default(false).description("Whether TLS is spoken.")),
            (
                "ssl_verify",
                ssl_verify.description("Whether the certificate is verified, against `lua_ssl_trusted_certificate`."),
            ),
            ("server_name", sni().required(false).description("The name in the certificate, in place of `host`.")),
            // Those of Kong Enterprise, for Redis behind sentinels and for clusters.
            ("connect_timeout", hidden(timeout(), "Milliseconds to connect, in place of `timeout`.")),
            (
                "send_timeout",
                hidden(timeout(), "Milliseconds to send a command; with `read_timeout` in place of `timeout`."),
            ),
            ("read_timeout", hidden(timeout(), "Milliseconds to wait for a reply.")),
            ("sentinel_master", hidden(Field::string(), "By which name sentinels know the servers.")),
            ("sentinel_role", hidden(role, "`slave`: a replica is used; otherwise the master.")),
            ("sentinel_nodes", redis_nodes("host", 6379).description("The sentinels.")),
            ("sentinel_username", hidden(Field::string().referenceable(true), "The ACL user of sentinels.")),
            ("sentinel_password", hidden(sentinel_password, "That user's password.")),
            ("cluster_nodes", redis_nodes("ip", 6379).description("Nodes of a cluster, which name the others.")),
            (
                "cluster_max_redirections",
                hidden(Field::integer().between(0, 100), "How often a command is sent on; 5."),
            ),
            (
                "connection_is_proxied",
                hidden(
                    Field::boolean(),
                    "Whether `host` is a proxy that spreads keys over servers, as Envoy does: keys are as in a cluster.",
                ),
            ),
            (
                "redis_proxy_type",
                hidden(Field::string().one_of(["envoy_v1.31"]), "Without effect: a proxy is spoken to as a server is."),
            ),
            ("keepalive_pool_size", hidden(Field::integer().between(1, 2_147_483_646), UNUSED)),
            ("keepalive_backlog", hidden(Field::integer().between(0, 2_147_483_646), UNUSED)),
        ])
        .shorthand_field(redis_addresses("sentinel_addresses", "sentinel_nodes", "host"))
        .shorthand_field(redis_addresses("cluster_addresses", "cluster_nodes", "ip"))
        .validator(redis_servers),
    )
});

/// The old form of a list of servers: `host:port` each. Where `nodes` are given as well, they count.
fn redis_addresses(name: &str, nodes: &'static str, host: &'static str) -> Shorthand {
    fn parts(address: &crate::Value) -> Option<(&str, u16)> {
        let (host, port) = address.as_str()?.rsplit_once(':')?;
        Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
    }
    let is_address = |address: &crate::Value| match parts(address) {
        Some(_) => Ok(()),
        None => Err("an address is a host and a port: host:port".to_owned()),
    };
    let replaced = Deprecation::new(&format!("{name} is deprecated, please use {nodes} instead"), "4.0");
    let field = Field::array(Field::string().validator(is_address)).len_min(1).hidden(true).deprecation(replaced);
    Shorthand::new(name, field, move |addresses| {
        let Some(addresses) = addresses.as_array() else { return Map::new() };
        let node = |address| {
            let (name, port) = parts(address)?;
            Some(serde_json::json!({ host: name, "port": port }))
        };
        Map::from_iter([(nodes.to_owned(), addresses.iter().filter_map(node).collect())])
    })
}

fn redis_servers(redis: &crate::Value) -> Result<(), String> {
    let is_set = |name: &str| redis.get(name).is_some_and(|value| !value.is_null());
    if is_set("sentinel_nodes") && is_set("cluster_nodes") {
        return Err("sentinel_nodes and cluster_nodes cannot be set together".to_owned());
    }
    if is_set("sentinel_nodes") != is_set("sentinel_master") {
        return Err("sentinel_nodes and sentinel_master must be set together".to_owned());
    }
    if redis.get("connection_is_proxied") == Some(&crate::Value::Bool(true)) {
        let is_other = |database: &crate::Value| database.as_i64().is_some_and(|database| database != 0);
        if redis.get("database").is_some_and(is_other) {
            return Err("database must be '0' or 'null' when 'connection_is_proxied' is 'true'.".to_owned());
        }
        for name in ["cluster_nodes", "sentinel_role", "sentinel_nodes"] {
            if is_set(name) {
                return Err(format!("'connection_is_proxied' can not be 'true' when '{name}' is set."));
            }
        }
    }
    Ok(())
}

/// The connection to a Redis server.
pub fn redis() -> Field {
    Field::record(Arc::clone(&REDIS))
}

/// The fields of [`redis`], for a record that adds to them.
pub fn redis_record() -> RecordSchema {
    (**REDIS).clone()
}

static QUEUE: LazyLock<Arc<RecordSchema>> = LazyLock::new(|| {
    Arc::new(RecordSchema::new([
        (
            "max_batch_size",
            Field::integer().default(1).between(1, 1_000_000).description("How many entries are sent at once."),
        ),
        (
            "max_coalescing_delay",
            Field::number().default(1).between(0, 3600).description("Seconds that an entry waits for others."),
        ),
        (
            "max_entries",
            Field::integer().default(10_000).between(1, 1_000_000).description("How many wait; the oldest go first."),
        ),
        ("max_bytes", Field::integer().description("How many bytes wait; 128 MiB where it is not given.")),
        (
            "max_retry_time",
            Field::number().default(60).description("Seconds after which a batch that cannot be sent is dropped."),
        ),
        (
            "initial_retry_delay",
            Field::number()
                .default(json!(0.01))
                .between(0.001, 1_000_000)
                .description("Seconds before the first retry; twice as many before each further one."),
        ),
        (
            "max_retry_delay",
            Field::number().default(60).between(0.001, 1_000_000).description("Seconds between two tries at most."),
        ),
        (
            "concurrency_limit",
            Field::integer().default(1).one_of([-1, 1]).description("`-1`: each entry at once, beside others."),
        ),
        (
            "max_spill_bytes",
            Field::integer()
                .gt(0)
                .hidden(true)
                .description("How many bytes wait on disk where the memory is full. Not in Kong."),
        ),
    ]))
});

/// The batching queue of a logging plugin.
pub fn queue() -> Field {
    Field::record(Arc::clone(&QUEUE))
}
