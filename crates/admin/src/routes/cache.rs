//! `/cache`: what the node keeps of the store.
use super::no_content;
use crate::Response;
use crate::dispatch::Routes;
use serde_json::{Value, json};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/cache/:key", |api, call| {
        Ok(match api.node.cached(&call.parameter(0)?) {
            Some(value @ Value::Object(_)) => Response::json(200, &value),
            Some(value) => Response::json(200, &json!({ "message": value })),
            None => Response::not_found(),
        })
    });
    routes.on("DELETE", "/cache/:key", |api, call| {
        api.node.uncache(Some(&call.parameter(0)?));
        Ok(no_content())
    });
    routes.on("DELETE", "/cache", |api, _| {
        api.node.uncache(None);
        Ok(no_content())
    });
}
