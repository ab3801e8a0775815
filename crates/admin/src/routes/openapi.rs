//! `/openapi.json`: this API as an OpenAPI 3.1 document. Not an endpoint of Kong.
use crate::dispatch::Routes;
use crate::{Response, openapi};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/openapi.json", |api, _| {
        let document =
            api.openapi.get_or_init(|| openapi::document(&api.catalog, &api.routes).to_string().into_bytes());
        Ok(Response::text(200, "application/json; charset=utf-8", document.clone()))
    });
    routes.unlist(|path| path == "/openapi.json");
}
