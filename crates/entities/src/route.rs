//! Routes: which requests go to which service. The router flavor decides which fields there are.

pub mod expression;
pub mod pattern;
mod subschemas;

use std::num::NonZeroU32;
use std::sync::Arc;

use indexmap::IndexMap;
use schema::{Check, Entity, EntitySchema, Field, Foreign, Record, Uuid, is, typedefs, validators};
use serde::{Deserialize, Serialize};

use crate::protocols::{PROTOCOLS, Protocols};
use crate::{RetryPolicy, RouterFlavor};

/// A rule for requests or connections. There may be a hundred thousand: what few of them have takes little room where it is not.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[entity(name = "routes", endpoint_key = "name", subschema_key = "protocols", workspaceable)]
#[check(conditional(
    "protocols",
    is().elements(Field::string().not_one_of(["grpcs", "https", "tls", "tls_passthrough"])),
    "snis",
    is().len_eq(0)
)
.then_err("'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"))]
#[check(custom(["path_handling"], |_| Ok(())))]
pub struct Route {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The route's name.
    #[field(typedef = utf8_name, unique)]
    pub name: Option<Box<str>>,
    /// The protocols it takes; all of one family.
    #[field(
        set,
        len_min = 1,
        default = ["http", "https"],
        elements(one_of(PROTOCOLS)),
        mutually_exclusive_subsets(crate::route::FAMILIES.map(<[&str]>::to_vec))
    )]
    pub protocols: Protocols,
    /// The status that sends clients from http to https.
    #[field(default = 426, one_of([426, 301, 302, 307, 308]))]
    pub https_redirect_status_code: u16,
    /// Whether the matched prefix of the path is left out upstream.
    #[field(default = true)]
    pub strip_path: bool,
    /// Whether the client's Host header goes upstream.
    #[field(default = false)]
    pub preserve_host: bool,
    /// Whether a request's body is read whole before it is sent on.
    #[field(default = true)]
    pub request_buffering: bool,
    /// Whether a response's body is buffered.
    #[field(default = true)]
    pub response_buffering: bool,
    /// Words for grouping and filtering.
    #[field(typedef = tags)]
    pub tags: Option<Box<[String]>>,
    /// Where its requests go.
    #[field(reference = "services")]
    pub service: Option<Foreign>,
    /// Server names of TLS connections.
    #[field(set, elements(typedef = wildcard_host))]
    pub snis: Option<Box<[String]>>,
    /// Addresses of clients, for stream routes.
    #[field(set)]
    pub sources: Option<Box<[Net]>>,
    /// Addresses connected to, for stream routes.
    #[field(set)]
    pub destinations: Option<Box<[Net]>>,
    /// Request methods.
    #[field(typedef = methods)]
    pub methods: Option<Box<[String]>>,
    /// Host names, with a wildcard at their start or end.
    #[field(typedef = hosts)]
    pub hosts: Option<Box<[String]>>,
    /// Prefixes of paths, or regexes behind a `~`.
    #[field(typedef = paths)]
    pub paths: Option<Box<[String]>>,
    /// Header values by name.
    #[field(typedef = headers)]
    pub headers: Option<Box<IndexMap<String, Vec<String>>>>,
    /// Decides between regex paths.
    #[field(default = 0)]
    pub regex_priority: Option<i64>,
    /// How the service's, route's and request's paths are joined.
    #[field(default = "v0", one_of(["v0", "v1"]))]
    pub path_handling: Option<PathHandling>,
    /// The whole condition, in the router's language (flavor `expressions`).
    pub expression: Option<Box<str>>,
    /// Decides between expressions (flavor `expressions`).
    #[field(required, default = 0, between(0, 70_368_744_177_663_f64))]
    pub priority: Option<i64>,
    /// Milliseconds to wait for a connection, in place of the service's.
    #[field(hidden, between(1, 2_147_483_646))]
    pub connect_timeout: Option<NonZeroU32>,
    /// Milliseconds to wait between two successive writes, in place of the service's.
    #[field(hidden, between(1, 2_147_483_646))]
    pub write_timeout: Option<NonZeroU32>,
    /// Milliseconds to wait between two successive reads, in place of the service's.
    #[field(hidden, between(1, 2_147_483_646))]
    pub read_timeout: Option<NonZeroU32>,
    /// Milliseconds from the end of the request's head to the end of the answer's, all tries together.
    #[field(hidden, between(1, 2_147_483_646))]
    pub request_timeout: Option<NonZeroU32>,
    /// How often a failed request is tried again, in place of the service's.
    #[field(hidden, between(0, 32767))]
    pub retries: Option<u16>,
    /// When a request is tried again, in place of the service's.
    #[field(hidden)]
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// Whether the path goes upstream in its normal form, as in Kong, or as the client sent it.
    #[field(hidden)]
    pub path_forwarding: Option<PathForwarding>,
}

/// How paths are joined: the two ways of Kong's `path_handling`.
#[derive(Record, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PathHandling {
    V0,
    V1,
}

/// Which form of the path goes upstream. Routes are matched by the normal form in any case.
#[derive(Record, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PathForwarding {
    Normalized,
    /// Byte for byte; paths with dot segments are refused.
    Raw,
}

/// An address, a network or a port.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[check(at_least_one_of(["ip", "port"]))]
pub struct Net {
    /// An address or a network.
    #[field(typedef = ip_or_cidr)]
    pub ip: Option<String>,
    /// A port.
    #[field(typedef = port)]
    pub port: Option<i64>,
}

const FAMILIES: [&[&str]; 4] = [&["http", "https"], &["tcp", "tls", "udp"], &["tls_passthrough"], &["grpc", "grpcs"]];

/// Whether routes with this protocol are about connections, not requests.
pub fn is_stream(protocol: &str) -> bool {
    matches!(protocol, "tcp" | "tls" | "udp" | "tls_passthrough")
}

/// The schema of routes under a router flavor.
pub(crate) fn schema(flavor: RouterFlavor) -> EntitySchema {
    let mut record = (**Route::record()).clone();
    if flavor != RouterFlavor::Expressions {
        record = record.without("expression").without("priority");
    }
    if flavor == RouterFlavor::Traditional {
        let path = typedefs::router_path().validator(|path| {
            validators::router_path(path)?;
            path.as_str().and_then(|path| path.strip_prefix('~')).map_or(Ok(()), pattern::check_path)
        });
        // The only value of a field may be a regex; among several it is a text.
        let values = Field::array(Field::string()).validator(|values| match values.as_array().map(Vec::as_slice) {
            Some([only]) => only.as_str().and_then(|only| only.strip_prefix("~*")).map_or(Ok(()), pattern::check_value),
            _ => Ok(()),
        });
        record = record.field("snis", Field::set(typedefs::sni())).field("paths", Field::array(path));
        record = record.field("headers", typedefs::headers_with(values));
    } else {
        let fields = [
            "id",
            "protocols",
            "snis",
            "sources",
            "destinations",
            "methods",
            "hosts",
            "paths",
            "headers",
            "expression",
            "regex_priority",
            "priority",
        ];
        let check = Check::custom(fields, move |entity| {
            expression::check(flavor, entity)
                .map_err(|error| format!("Router Expression failed validation: {error}").into())
        });
        record = record.check(check.run_with_missing_fields());
    }
    (**Route::schema()).clone().with_record(Arc::new(record)).with_subschemas(subschemas::of(flavor))
}
