//! The Admin API described: as an OpenAPI 3.1 document and as the reference in docs/. Both come from the table of
//! endpoints and the schemas of the entities, so that neither can say what is not so.
mod described;
mod reference;
mod schemas;

pub use reference::{plugin_reference, reference};

use crate::api::table;
use crate::dispatch::{Endpoint, Routes};
use crate::{PluginEndpoint, Settings};
use entities::Catalog;
use schema::EntitySchema;
use schemas::reference as component;
use serde_json::{Map, Value, json};

/// What a generated endpoint is about.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) entity: String,
    pub(crate) is_collection: bool,
    /// The entity whose key the path has first, where that is another one.
    pub(crate) within: Option<String>,
}

/// The document of an API with these plugins.
pub fn openapi(catalog: &Catalog, endpoints: &[PluginEndpoint], settings: &Settings) -> Value {
    document(catalog, &table(catalog, endpoints, settings))
}

pub(crate) fn document(catalog: &Catalog, routes: &Routes) -> Value {
    let mut paths = Map::new();
    let mut endpoints: Vec<(String, &Endpoint)> = routes
        .all()
        .filter(|endpoint| !endpoint.is_disabled)
        .map(|endpoint| (shown(&endpoint.path), endpoint))
        .collect();
    endpoints.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
    for (path, endpoint) in endpoints {
        let mut item = Map::new();
        let parameters = parameters(&path, endpoint);
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), Value::Array(parameters));
        }
        for method in endpoint.methods() {
            item.insert(method.to_ascii_lowercase(), operation(method, &path, endpoint));
        }
        paths.insert(path, Value::Object(item));
    }
    let mut components = schemas::components(catalog, entities(catalog));
    components.insert("error".to_owned(), error());
    components.insert("batch".to_owned(), batch());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Silverback Admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The Admin API of Kong Gateway 3.10, and what Silverback adds to it.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        // Nobody is asked who they are unless `admin_users` is set.
        "security": [{}, { "bearer": [] }, { "basic": [] }],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                "error": {
                    "description": "Why the request was not answered as it wished.",
                    "content": { "application/json": { "schema": component("error") } },
                },
            },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic" },
            },
        },
    })
}

/// The entities that have paths.
fn entities(catalog: &Catalog) -> impl Iterator<Item = &EntitySchema> {
    let has_paths = |schema: &&EntitySchema| schema.generate_admin_api || schema.name == "consumer_groups";
    catalog.entities().map(AsRef::as_ref).filter(has_paths)
}

/// `/services/{services}`
fn shown(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

fn parameters(path: &str, endpoint: &Endpoint) -> Vec<Value> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let about = match endpoint.shape {
            Some(_) => format!("The id, or the unique name, of one of {name}."),
            None => String::new(),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 }, "description": about })
    };
    names.map(parameter).collect()
}

fn operation(method: &str, path: &str, endpoint: &Endpoint) -> Value {
    let words: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => format!("by-{name}"),
            None => segment.replace('.', "-"),
        })
        .collect();
    let group = path.split('/').nth(1).filter(|group| !group.is_empty()).unwrap_or("node");
    let id = format!("{}-{}", method.to_ascii_lowercase(), words.join("-"));
    let mut operation = json!({
        "operationId": id,
        "tags": [group],
        "summary": summary(method, path, endpoint),
        "responses": responses(method, path, endpoint),
    });
    if let Some(body) = request_body(method, path, endpoint) {
        operation["requestBody"] = body;
    }
    let query = query(method, path, endpoint);
    if !query.is_empty() {
        operation["parameters"] = Value::Array(query);
    }
    operation
}

/// What an operation does.
fn summary(method: &str, path: &str, endpoint: &Endpoint) -> String {
    if let Some(text) = described::summary(method, path) {
        return text.to_owned();
    }
    let Some(shape) = &endpoint.shape else { return String::new() };
    let (entity, within) = (&shape.entity, shape.within.as_deref());
    let place = within.map(|within| format!(" of one of {within}")).unwrap_or_default();
    match (method, shape.is_collection) {
        ("GET", true) => format!("Lists the {entity}{place}."),
        ("POST", _) => format!("Creates one of the {entity}{place}."),
        ("GET", false) => format!("One of the {entity}{place}."),
        ("PUT", _) => format!("Creates or replaces one of the {entity}{place}."),
        ("PATCH", _) => format!("Changes one of the {entity}{place}."),
        _ => format!("Deletes one of the {entity}{place}."),
    }
}

fn json_content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn responses(method: &str, path: &str, endpoint: &Endpoint) -> Value {
    let mut responses = Map::new();
    let any = json!({});
    let (status, about, schema) = match (&endpoint.shape, method) {
        (_, "DELETE") => ("204", "Done.", None),
        (Some(shape), "GET") if shape.is_collection => ("200", "A page.", Some(page(&component(&shape.entity)))),
        (Some(shape), "POST") => ("201", "The new entity.", Some(component(&shape.entity))),
        (Some(shape), _) if described::summary(method, path).is_none() => {
            ("200", "The entity.", Some(component(&shape.entity)))
        }
        (_, "PUT") if path.ends_with("healthy") => ("204", "Done.", None),
        _ => ("default", "The answer.", Some(any)),
    };
    let mut answer = json!({ "description": about });
    if let Some(schema) = schema {
        answer["content"] = json_content(&schema);
    }
    responses.insert(status.to_owned(), answer);
    if status != "default" {
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/error" }));
    }
    Value::Object(responses)
}

fn page(entity: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["data", "next"],
        "properties": {
            "data": { "type": "array", "items": entity },
            "next": { "type": ["string", "null"], "description": "The path of the next page." },
            "offset": { "type": "string", "description": "Where the next page begins; absent on the last one." },
        },
    })
}

fn request_body(method: &str, path: &str, endpoint: &Endpoint) -> Option<Value> {
    if !matches!(method, "POST" | "PUT" | "PATCH") {
        return None;
    }
    let schema = match (&endpoint.shape, path) {
        (_, "/batch") => return Some(json!({ "required": true, "content": json_content(&component("batch")) })),
        (Some(shape), _) if method == "PATCH" => component(&shape.entity),
        (Some(shape), _) => component(&format!("{}.new", shape.entity)),
        (None, _) => json!({ "type": "object" }),
    };
    let mut content = Map::new();
    for kind in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"] {
        content.insert(kind.to_owned(), json!({ "schema": schema }));
    }
    if path == "/config" {
        content.insert("application/yaml".to_owned(), json!({ "schema": { "type": "string" } }));
    }
    Some(json!({ "content": content }))
}

fn query(method: &str, path: &str, endpoint: &Endpoint) -> Vec<Value> {
    let parameter = |name: &str, schema: Value, about: &str| json!({ "name": name, "in": "query", "schema": schema, "description": about });
    let is_list = endpoint.shape.as_ref().is_some_and(|shape| shape.is_collection);
    let mut query = Vec::new();
    if method == "GET" && (is_list || path == "/audit" || path.starts_with("/tags")) {
        let size = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
        query.push(parameter("size", size, "Most rows of the page."));
        query.push(parameter(
            "offset",
            json!({ "type": "string" }),
            "Where the page begins: `offset` of the one before.",
        ));
    }
    if method == "GET" && is_list && endpoint.shape.as_ref().is_some_and(|shape| shape.within.is_none()) {
        let about = "Only what has all of the tags (`a,b`) or any of them (`a/b`).";
        query.push(parameter("tags", json!({ "type": "string" }), about));
    }
    match path {
        "/consumers" if method == "GET" => {
            query.push(parameter("custom_id", json!({ "type": "string" }), "The consumer of another system's id."));
        }
        "/audit" => {
            for (name, about) in [
                ("user", "Whose writes."),
                ("entity", "Writes of which entities."),
                ("id", "Writes of the entity with this id."),
            ] {
                query.push(parameter(name, json!({ "type": "string" }), about));
            }
        }
        "/status" => {
            query.push(parameter(
                "unit",
                json!({ "enum": ["b", "k", "m", "g"], "default": "m" }),
                "The unit of memory.",
            ));
            query.push(parameter(
                "scale",
                json!({ "type": "integer", "minimum": 0, "default": 2 }),
                "Digits behind the point.",
            ));
        }
        "/config" if method == "POST" => {
            query.push(parameter(
                "check_hash",
                json!({ "enum": ["0", "1"] }),
                "1: an equal configuration is answered 304.",
            ));
            query.push(parameter("flatten_errors", json!({ "type": "string" }), "1: errors as a list, by entity."));
        }
        _ => {}
    }
    query
}

fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "message": { "type": ["string", "null"] },
            "code": { "type": "integer", "description": "Kong's number of the error." },
            "name": { "type": "string", "description": "Kong's name of the error." },
            "fields": { "type": "object", "description": "What is wrong, by field." },
            "operation": { "type": "integer", "description": "Of a batch: the place of the operation that failed, from 0." },
        },
    })
}

fn batch() -> Value {
    let operation = json!({
        "type": "object",
        "required": ["method", "path"],
        "additionalProperties": false,
        "properties": {
            "method": { "enum": ["POST", "PUT", "PATCH", "DELETE"] },
            "path": { "type": "string", "description": "The path of an entity or a collection, as in a request of its own." },
            "body": { "type": ["object", "null"] },
        },
    });
    json!({
        "type": "object",
        "required": ["operations"],
        "additionalProperties": false,
        "properties": { "operations": { "type": "array", "maxItems": 100_000, "items": operation } },
    })
}
