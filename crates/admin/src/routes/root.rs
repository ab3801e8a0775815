//! `/`: what this node is, and `/robots.txt`.
use crate::dispatch::{Call, Routes};
use crate::failure::Outcome;
use crate::special::every;
use crate::{Api, Response};
use serde_json::{Map, Value, json};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/", information);
    routes.on("GET", "/robots.txt", |_, _| Ok(Response::text(200, "text/plain", "User-agent: *\nDisallow: /")));
    routes.unlist(|path| path == "/robots.txt");
}

fn information(api: &Api, call: &Call<'_>) -> Outcome {
    let node = &api.node;
    let mut configuration = node.configuration();
    configuration.insert("log_level".to_owned(), Value::from(node.log_level()));
    let (running, pending) = node.timers();
    let pids = node.pids();
    let available: Map<String, Value> = api
        .catalog
        .plugins()
        .map(|plugin| (plugin.schema.name.clone(), json!({ "version": plugin.version, "priority": plugin.priority })))
        .collect();
    Ok(Response::json(
        200,
        &json!({
            "tagline": "Welcome to kong",
            "version": node.version(),
            "edition": "community",
            "hostname": node.hostname(),
            "node_id": node.node_id(),
            "timers": { "running": running, "pending": pending },
            "plugins": { "available_on_server": available, "enabled_in_cluster": enabled(api, call)? },
            "lua_version": "LuaJIT 2.1.0-20231117",
            "configuration": configuration,
            "pids": { "master": pids.master, "workers": pids.workers },
        }),
    ))
}

/// The names of the plugins that are configured anywhere.
fn enabled(api: &Api, call: &Call<'_>) -> Outcome<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    api.reading(call, |reader| {
        every(reader, "plugins", None, |plugin| {
            if let Some(name) = plugin.get("name").and_then(Value::as_str)
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
            Ok(())
        })
    })?;
    Ok(names)
}
