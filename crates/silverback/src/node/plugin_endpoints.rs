//! The endpoints that plugins bring to the Admin API.

use admin::{PluginEndpoint, Request, Response};
use entities::Configuration;
use plugins::proxy_cache;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const METRICS: &str = "/metrics";

/// A plugin and its endpoints.
const ALL: &[(&str, &[PluginEndpoint])] = &[
    ("prometheus", &[PluginEndpoint { path: METRICS, methods: &["GET"] }]),
    (
        "proxy-cache",
        &[
            PluginEndpoint { path: "/proxy-cache", methods: &["DELETE"] },
            PluginEndpoint { path: "/proxy-cache/:cache_key", methods: &["GET", "DELETE"] },
            PluginEndpoint { path: "/proxy-cache/:plugin_id/caches/:cache_key", methods: &["GET", "DELETE"] },
        ],
    ),
];

/// The endpoints of the plugins that there are.
pub(super) fn of(has_plugin: impl Fn(&str) -> bool) -> Vec<PluginEndpoint> {
    let known = ALL.iter().filter(|(name, _)| has_plugin(name));
    known.flat_map(|(_, endpoints)| endpoints.iter().cloned()).collect()
}

/// What is kept by `proxy-cache`: shown, or let go.
pub(super) fn proxy_cache(
    configuration: &Configuration,
    parameters: &[(String, String)],
    request: &Request,
) -> Response {
    let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    // Kong looks where its instances of the plugin keep responses: without one there is nowhere to look.
    let mut instances = configuration.plugins.values().filter(|plugin| plugin.name == proxy_cache::DEFINITION.name);
    let is_there = match parameter("plugin_id") {
        Some(id) => instances.any(|plugin| plugin.id.to_string() == id),
        None => parameter("cache_key").is_none() || instances.next().is_some(),
    };
    if !is_there {
        return Response::page(404);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let is_delete = request.method == "DELETE";
    match parameter("cache_key") {
        None => {
            proxy_cache::forget_all();
            Response::empty(204)
        }
        Some(key) if is_delete && proxy_cache::forget(key, now) => Response::empty(204),
        Some(key) if !is_delete => {
            proxy_cache::cached(key, now).map_or_else(|| Response::page(404), |cached| Response::json(200, &cached))
        }
        Some(_) => Response::page(404),
    }
}
