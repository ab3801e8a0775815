//! Chains of WebAssembly filters: refused altogether while `wasm` is off, and the filters a route has.
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::keys::{foreign_id, id_of};
use crate::{Api, Response};
use serde_json::{Value, json};
use store::{Query, Reader};

pub(super) fn add(routes: &mut Routes, is_on: bool) {
    for (name, enabled) in [("all", None), ("enabled", Some(true)), ("disabled", Some(false))] {
        routes.on("GET", &format!("/routes/:routes/filters/{name}"), move |api, call| filters(api, call, enabled));
    }
    if is_on {
        return;
    }
    let paths: Vec<String> = routes.all().map(|endpoint| endpoint.path.clone()).collect();
    for path in paths.iter().filter(|path| path.contains("/filter-chains") || path.contains("/filters/")) {
        if !path.starts_with("/schemas/") {
            let message = "this endpoint is only available when wasm is enabled";
            routes.before(path, move |_, _| Err(Failure::message(400, message)));
        }
    }
}

/// The filters of the route's service, then its own.
fn filters(api: &Api, call: &Call<'_>, enabled: Option<bool>) -> Outcome {
    let filters = api.reading(call, |reader| {
        let route = api.named(reader, call, 0, "routes")?;
        let mut filters = Vec::new();
        if let Some(service) = foreign_id(&route, "service") {
            filters.extend(of_chain(reader, "service", service)?);
        }
        filters.extend(of_chain(reader, "route", id_of(&route))?);
        Ok(filters)
    })?;
    let fits = |filter: &Value| enabled.is_none_or(|enabled| filter.get("enabled") == Some(&Value::from(enabled)));
    let filters: Vec<Value> = filters.into_iter().filter(fits).collect();
    Ok(Response::json(200, &json!({ "filters": filters })))
}

fn of_chain(reader: &dyn Reader, from: &str, id: &str) -> Outcome<Vec<Value>> {
    let query = Query { size: 1, foreign: Some((from, id)), ..Query::default() };
    let mut filters = Vec::new();
    for chain in reader.page("filter_chains", &query)?.rows {
        let of = json!({ "name": chain.get("name"), "id": id_of(&chain) });
        for filter in chain.get("filters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
            filters.push(json!({
                "name": filter.get("name"), "config": filter.get("config"), "from": from,
                "enabled": filter.get("enabled"), "filter_chain": of,
            }));
        }
    }
    Ok(filters)
}
