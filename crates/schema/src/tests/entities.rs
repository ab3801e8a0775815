//! A few of Kong's entities, derived, for the other tests.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::typedefs::PROTOCOLS;
use crate::validators::url::Url;
use crate::{Check, Entity, Field, Foreign, Map, Record, Subschema, Uuid, Value, is, json, typedefs};

/// Where requests go.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "services", endpoint_key = "name", workspaceable)]
#[shorthand("url", Field::string(), url_fields)]
#[check(conditional("protocol", is().one_of(["tcp", "tls", "udp", "grpc", "grpcs"]), "path", is().null()))]
#[check(conditional("protocol", is().not_one_of(["https", "tls"]), "client_certificate", is().null()))]
#[check(conditional("protocol", is().not_one_of(["https", "tls"]), "tls_verify_depth", is().null()))]
pub(crate) struct Service {
    #[field(auto)]
    pub(crate) id: Uuid,
    #[field(auto, timestamp)]
    pub(crate) created_at: i64,
    #[field(auto, timestamp)]
    pub(crate) updated_at: i64,
    /// Its name.
    #[field(unique, typedef = utf8_name)]
    pub(crate) name: Option<String>,
    #[field(default = 5, between(0, 32767))]
    pub(crate) retries: Option<i64>,
    #[field(default = "http", one_of(PROTOCOLS))]
    pub(crate) protocol: String,
    #[field(typedef = host)]
    pub(crate) host: String,
    #[field(typedef = port, default = 80)]
    pub(crate) port: u16,
    #[field(typedef = path)]
    pub(crate) path: Option<String>,
    #[field(default = 60000, between(1, 2_147_483_646))]
    pub(crate) connect_timeout: Option<i64>,
    #[field(typedef = tags)]
    pub(crate) tags: Option<Vec<String>>,
    #[field(reference = "certificates")]
    pub(crate) client_certificate: Option<Foreign>,
    #[field(default = null, between(0, 64))]
    pub(crate) tls_verify_depth: Option<i64>,
    pub(crate) ca_certificates: Option<Vec<Uuid>>,
    #[field(default = true)]
    pub(crate) enabled: bool,
}

fn url_fields(value: &Value) -> Map<String, Value> {
    let url = Url::parse(value.as_str().unwrap_or_default()).unwrap_or_default();
    let port = url.port.map(|port| port.parse::<u16>().map_or_else(|_| Value::from(port), Value::from));
    Map::from_iter([
        ("protocol".to_owned(), url.scheme.into()),
        ("host".to_owned(), url.host.into()),
        ("port".to_owned(), port.unwrap_or_else(|| 80.into())),
        ("path".to_owned(), url.path.into()),
    ])
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "routes", endpoint_key = "name", workspaceable, subschema_key = "protocols")]
#[check(conditional(
    "protocols",
    is().elements(Field::string().not_one_of(["grpcs", "https", "tls", "tls_passthrough"])),
    "snis",
    is().len_eq(0)
)
.then_err("'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"))]
pub(crate) struct Route {
    #[field(auto)]
    pub(crate) id: Uuid,
    #[field(unique, typedef = utf8_name)]
    pub(crate) name: Option<String>,
    #[field(
        set,
        len_min = 1,
        default = ["http", "https"],
        elements(one_of(PROTOCOLS)),
        mutually_exclusive_subsets([vec!["http", "https"], vec!["tcp", "tls", "udp"], vec!["tls_passthrough"], vec!["grpc", "grpcs"]])
    )]
    pub(crate) protocols: Vec<String>,
    #[field(default = true)]
    pub(crate) strip_path: bool,
    #[field(typedef = hosts)]
    pub(crate) hosts: Option<Vec<String>>,
    #[field(typedef = paths)]
    pub(crate) paths: Option<Vec<String>>,
    #[field(typedef = methods)]
    pub(crate) methods: Option<Vec<String>>,
    #[field(typedef = headers)]
    pub(crate) headers: Option<IndexMap<String, Vec<String>>>,
    #[field(set, elements(typedef = wildcard_host))]
    pub(crate) snis: Option<Vec<String>>,
    #[field(typedef = sources)]
    pub(crate) sources: Option<Vec<Endpoint>>,
    #[field(reference = "services")]
    pub(crate) service: Option<Foreign>,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[check(at_least_one_of(["ip", "port"]))]
pub(crate) struct Endpoint {
    #[field(typedef = ip_or_cidr)]
    pub(crate) ip: Option<String>,
    #[field(typedef = port)]
    pub(crate) port: Option<u16>,
}

fn families() -> Vec<Arc<Subschema>> {
    let family = |name: &str| {
        let no = |field: &str| format!("cannot set '{field}' when 'protocols' is 'http' or 'https'");
        Arc::new(
            Subschema::new(name).field("sources", typedefs::sources().null().err(&no("sources"))).check(
                Check::conditional_at_least_one_of(
                    "protocols",
                    is().contains("https"),
                    ["methods", "hosts", "headers", "paths", "snis"],
                )
                .then_err("must set one of %s when 'protocols' is 'https'")
                .otherwise(
                    is().contains("http"),
                    ["methods", "hosts", "headers", "paths"],
                    "must set one of %s when 'protocols' is 'http'",
                ),
            ),
        )
    };
    let stream = Arc::new(Subschema::new("tcp"));
    vec![family("http"), family("https"), stream]
}

#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(name = "consumers", endpoint_key = "username", workspaceable)]
#[check(at_least_one_of(["custom_id", "username"]))]
pub(crate) struct Consumer {
    #[field(auto)]
    pub(crate) id: Uuid,
    #[field(auto, timestamp)]
    pub(crate) created_at: i64,
    #[field(auto, timestamp)]
    pub(crate) updated_at: i64,
    #[field(unique)]
    pub(crate) username: Option<String>,
    #[field(unique)]
    pub(crate) custom_id: Option<String>,
    #[field(typedef = tags)]
    pub(crate) tags: Option<Vec<String>>,
}

#[derive(Record, Serialize, Deserialize, Clone, Debug)]
#[entity(
    name = "plugins",
    endpoint_key = "instance_name",
    cache_key(["name", "route", "service", "consumer"]),
    subschema_key = "name",
    subschema_error = "plugin '%s' not enabled; add it to the 'plugins' configuration property"
)]
pub(crate) struct Plugin {
    #[field(auto)]
    pub(crate) id: Uuid,
    pub(crate) name: String,
    #[field(auto, timestamp)]
    pub(crate) created_at: i64,
    #[field(reference = "routes", on_delete = "cascade", default = null)]
    pub(crate) route: Option<Foreign>,
    #[field(reference = "services", on_delete = "cascade", default = null)]
    pub(crate) service: Option<Foreign>,
    #[field(reference = "consumers", on_delete = "cascade", default = null)]
    pub(crate) consumer: Option<Foreign>,
    #[field(abstract_record)]
    pub(crate) config: Value,
    #[field(typedef = protocols)]
    pub(crate) protocols: Vec<String>,
    #[field(default = true)]
    pub(crate) enabled: bool,
}

#[derive(Record, Deserialize, Debug)]
#[shorthand_rename("redis_host", Field::string(), ["redis", "host"], "use config.redis.host instead")]
#[shorthand_rename("redis_port", Field::integer(), ["redis", "port"], "use config.redis.port instead")]
#[record(validator = longer_periods_allow_more)]
pub(crate) struct RateLimiting {
    #[field(gt(0))]
    pub(crate) minute: Option<f64>,
    #[field(gt(0))]
    pub(crate) hour: Option<f64>,
    #[field(default = "local")]
    pub(crate) policy: Option<Policy>,
    #[field(typedef = redis)]
    pub(crate) redis: Value,
    #[field(default = true)]
    pub(crate) fault_tolerant: bool,
}

#[derive(Record, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Policy {
    Local,
    Cluster,
    Redis,
}

fn longer_periods_allow_more(config: &Value) -> Result<(), String> {
    match (config["minute"].as_f64(), config["hour"].as_f64()) {
        (Some(minute), Some(hour)) if hour < minute => {
            Err(format!("The limit for hour({hour:.1}) cannot be lower than the limit for minute({minute:.1})"))
        }
        _ => Ok(()),
    }
}

#[derive(Record, Deserialize, Debug)]
pub(crate) struct Acl {
    pub(crate) allow: Option<Vec<String>>,
    pub(crate) deny: Option<Vec<String>>,
    #[field(default = false)]
    pub(crate) hide_groups_header: bool,
}

pub(crate) fn plugins() -> Vec<Arc<Subschema>> {
    vec![
        Arc::new(
            Subschema::plugin("rate-limiting", RateLimiting::record())
                .protocols_http()
                .check(Check::at_least_one_of(["config.minute", "config.hour"]))
                .check(Check::conditional("config.policy", is().eq("redis"), "config.redis.host", is().required(true))),
        ),
        Arc::new(
            Subschema::plugin("acl", Acl::record())
                .protocols_http()
                .no_consumer()
                .check(Check::only_one_of(["config.allow", "config.deny"])),
        ),
    ]
}

pub(crate) fn catalog() -> Catalog {
    let mut out = HashMap::new();
    let mut add = |schema: Arc<crate::EntitySchema>| out.insert(schema.name.clone(), schema);
    add(Arc::clone(Service::schema()));
    add(Arc::clone(Consumer::schema()));
    add(Arc::new((**Route::schema()).clone().with_subschemas(families())));
    add(Arc::new((**Plugin::schema()).clone().with_subschemas(plugins())));
    out
}

pub(crate) fn service() -> Value {
    json!({ "host": "a.test" })
}
