//! What is not CRUD: one file a path.
mod acls;
mod audit;
mod batch;
mod cache;
mod certificates;
mod clustering;
pub(crate) mod config;
mod consumer_groups;
mod consumers;
mod debug;
mod endpoints;
mod filters;
mod health;
mod insight;
mod openapi;
mod plugins;
mod root;
mod schemas;
mod status;
mod tags;
mod targets;
mod timers;

use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::{PluginEndpoint, Response, Settings};
use entities::Catalog;

/// Adds to the generated endpoints, and takes the place of some.
pub(crate) fn add(routes: &mut Routes, catalog: &Catalog, plugins: &[PluginEndpoint], settings: &Settings) {
    root::add(routes);
    status::add(routes);
    endpoints::add(routes);
    schemas::add(routes);
    plugins::add(routes);
    tags::add(routes);
    config::add(routes);
    consumers::add(routes);
    consumer_groups::add(routes, catalog);
    acls::add(routes);
    certificates::add(routes);
    targets::add(routes);
    health::add(routes);
    filters::add(routes, settings.wasm);
    debug::add(routes, settings.role_control_plane);
    clustering::add(routes);
    timers::add(routes);
    cache::add(routes);
    batch::add(routes);
    insight::add(routes);
    audit::add(routes);
    openapi::add(routes);
    disable(routes);
    add_plugins(routes, plugins);
}

/// Generated, and listed, but switched off in Kong.
fn disable(routes: &mut Routes) {
    for path in ["/targets", "/targets/:targets", "/targets/:targets/upstream", "/snis/:snis/certificate"] {
        routes.before(path, |_, _| Err(Failure::not_found()));
        routes.at(path).is_disabled = true;
    }
}

fn add_plugins(routes: &mut Routes, plugins: &[PluginEndpoint]) {
    for endpoint in plugins {
        for method in endpoint.methods {
            routes.on(method, endpoint.path, |api, call| {
                Ok(api.node.call(&call.endpoint.path, &named_parameters(call)?, call.request))
            });
        }
    }
}

fn named_parameters(call: &Call<'_>) -> Outcome<Vec<(String, String)>> {
    let names = call.endpoint.path.split('/').filter_map(|segment| segment.strip_prefix(':'));
    names.enumerate().map(|(place, name)| Ok((name.to_owned(), call.parameter(place)?))).collect()
}

fn no_content() -> Response {
    Response::empty(204)
}
