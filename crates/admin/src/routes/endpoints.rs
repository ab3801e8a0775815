//! `/endpoints`: the paths there are.
use crate::Response;
use crate::dispatch::Routes;
use serde_json::json;

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/endpoints", |api, _| Ok(Response::json(200, &json!({ "data": api.routes.paths() }))));
}
