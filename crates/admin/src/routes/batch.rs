//! `POST /batch`: many writes of entities, all or nothing, which the data plane sees as one change. Not an endpoint of Kong.
//!
//! The body is `{"operations": [{"method": "PUT", "path": "/services/s", "body": {...}}, ...]}`: each operation is what a
//! request of its own would be, and sees what those before it wrote. The answer is 200 with `results`, the status and body
//! of each. Where one fails, nothing has happened, and the answer is that one's, with its place as `operation`.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::transaction::Transaction;
use crate::{Api, Request, Response};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use store::Writer;

/// Most operations of a batch.
const MOST_OPERATIONS: usize = 100_000;

pub(super) fn add(routes: &mut Routes) {
    routes.on("POST", "/batch", run);
    routes.unlist(|path| path == "/batch");
}

fn refused(message: &str) -> Failure {
    Failure::message(400, message)
}

fn run(api: &Api, call: &Call<'_>) -> Outcome {
    let Body::Json(mut fields) = Body::of(call)? else {
        return Err(refused("expected a JSON object with 'operations'"));
    };
    let operations = match fields.shift_remove("operations") {
        Some(Value::Array(operations)) if fields.is_empty() => operations,
        _ => return Err(refused("expected a JSON object with 'operations', an array, and nothing else")),
    };
    if operations.len() > MOST_OPERATIONS {
        return Err(refused(&format!("a batch has at most {MOST_OPERATIONS} operations")));
    }
    let requests: Outcome<Vec<Request>> =
        operations.into_iter().enumerate().map(|(at, operation)| request(at, operation)).collect();
    let requests = requests?;
    let results = api.store.writing(|writer: &mut dyn Writer| {
        let transaction = RefCell::new(writer);
        let mut results = Vec::with_capacity(requests.len());
        for (at, request) in requests.iter().enumerate() {
            let response = operation(api, call, request, &transaction).unwrap_or_else(Failure::into_response);
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            if response.status >= 300 {
                return Err(failed(at, response.status, body));
            }
            results.push(json!({ "status": response.status, "body": body }));
        }
        Ok(results)
    })?;
    Ok(Response::json(200, &json!({ "results": results })))
}

/// The failing operation's answer, and which it was.
fn failed(at: usize, status: u16, body: Value) -> Failure {
    let mut fields = match body {
        Value::Object(fields) => fields,
        _ => Map::from_iter([("message".to_owned(), Value::from("the operation failed"))]),
    };
    fields.insert("operation".to_owned(), Value::from(at));
    Response::json(status, &Value::Object(fields)).into()
}

fn request(at: usize, operation: Value) -> Outcome<Request> {
    let wrong = |what: &str| failed(at, 400, json!({ "message": what }));
    let Value::Object(mut fields) = operation else { return Err(wrong("an operation is an object")) };
    let method = match fields.shift_remove("method") {
        Some(Value::String(method)) if matches!(method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE") => method,
        _ => return Err(wrong("method: expected one of: POST, PUT, PATCH, DELETE")),
    };
    let Some(Value::String(path)) = fields.shift_remove("path") else { return Err(wrong("path: expected a string")) };
    let body = match fields.shift_remove("body") {
        None | Some(Value::Null) => Vec::new(),
        Some(body @ Value::Object(_)) => body.to_string().into_bytes(),
        Some(_) => return Err(wrong("body: expected an object")),
    };
    if let Some(name) = fields.keys().next() {
        return Err(wrong(&format!("{name}: unknown field (expected method, path, body)")));
    }
    let headers = match body.is_empty() {
        true => Vec::new(),
        false => vec![("Content-Type".to_owned(), "application/json".to_owned())],
    };
    Ok(Request { method, path, headers, body, ..Request::default() })
}

fn operation(api: &Api, outer: &Call<'_>, request: &Request, transaction: &dyn Transaction) -> Outcome {
    let Some((endpoint, parameters)) = api.routes.find(&request.path) else { return Err(Failure::not_found()) };
    if !endpoint.is_of_entities {
        return Err(refused("a batch writes entities; this path is of something else"));
    }
    let call = Call {
        request,
        endpoint,
        parameters,
        arguments: Vec::new(),
        caller: outer.caller,
        transaction: Some(transaction),
        notes: outer.notes,
    };
    api.run(&call)
}
