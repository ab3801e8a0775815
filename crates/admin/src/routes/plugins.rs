//! `/plugins/enabled` and the older way to a plugin's schema.
use crate::dispatch::{Call, Routes};
use crate::failure::Outcome;
use crate::{Api, Response};
use serde_json::json;

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/plugins/enabled", |api, _| {
        let names: Vec<&str> = api.catalog.plugins().map(|plugin| plugin.schema.name.as_str()).collect();
        Ok(Response::json(200, &json!({ "enabled_plugins": names })))
    });
    routes.on("GET", "/plugins/schema/:name", configuration);
}

/// The schema of the plugin's configuration alone.
fn configuration(api: &Api, call: &Call<'_>) -> Outcome {
    let name = call.parameter(0)?;
    let Some(plugin) = api.catalog.plugin(&name) else {
        return Ok(Response::message(404, &format!("No plugin named '{name}'")));
    };
    let whole = plugin.schema.to_json();
    let fields = whole.get("fields").and_then(serde_json::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let config = fields.iter().find_map(|field| field.get("config")).cloned().unwrap_or_default();
    Ok(Response::json(200, &config))
}
