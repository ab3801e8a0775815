//! `/config`: the whole declarative configuration of a node without a database.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::{Api, Response, json};
use entities::declarative::{self, Declarative, Invalid};
use schema::Error;
use serde_json::{Map, Value};
use store::Change;
use uuid::Uuid;

/// The hash of the configuration that is loaded.
pub(crate) struct Declared {
    pub(crate) hash: String,
}

impl Default for Declared {
    fn default() -> Self {
        Declared { hash: "0".repeat(32) }
    }
}

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/config", |api, _| read_back(api));
    routes.on("POST", "/config", replace);
}

fn check_off(api: &Api) -> Outcome<()> {
    if !api.store.is_writable() {
        return Ok(());
    }
    let message = "this endpoint is only available when Kong is configured to not use a database";
    Err(Failure::message(400, message))
}

fn read_back(api: &Api) -> Outcome {
    check_off(api)?;
    let mut rows = Vec::new();
    api.store.each(&mut |entity, row| rows.push((entity.to_owned(), row)))?;
    let text = declarative::export(rows.iter().map(|(entity, row)| (entity.as_str(), row)), &api.catalog);
    Ok(Response::json(200, &serde_json::json!({ "config": text })))
}

/// What a body holds: a configuration's text, or the configuration itself.
enum Given {
    Text(String),
    Itself(Value),
}

/// A body that has a format version is the configuration; otherwise its `config` is, or the whole of it as text.
fn given(call: &Call<'_>, parameters: &mut Map<String, Value>) -> Outcome<Given> {
    if parameters.contains_key("_format_version") {
        // To Kong arguments of the query are members of the body.
        for (name, value) in &call.arguments {
            let name = String::from_utf8_lossy(name).into_owned();
            if !matches!(name.as_str(), "flatten_errors" | "check_hash") {
                let text = value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
                parameters.entry(name).or_insert_with(|| text.map_or(Value::Bool(true), Value::String));
            }
        }
        return Ok(Given::Itself(Value::Object(std::mem::take(parameters))));
    }
    match parameters.shift_remove("config") {
        Some(Value::String(text)) => Ok(Given::Text(text)),
        Some(Value::Null) | None if call.request.body.is_empty() => {
            Err(Failure::message(400, "expected a declarative configuration"))
        }
        Some(Value::Null) | None => match std::str::from_utf8(&call.request.body) {
            Ok(text) => Ok(Given::Text(text.to_owned())),
            Err(_) => Err(Failure::message(400, "expected a declarative configuration")),
        },
        // Not a text of any notation: what it says is what it is.
        Some(value) => Ok(Given::Text(value.to_string())),
    }
}

fn says_yes(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() == Some(1.0),
        Value::String(text) => matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes"),
        _ => false,
    }
}

fn replace(api: &Api, call: &Call<'_>) -> Outcome {
    check_off(api)?;
    let mut parameters = match Body::of(call)?.untyped()? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let flattens = flag(call, &mut parameters, "flatten_errors").is_some_and(|value| says_yes(&value));
    let checks = flag(call, &mut parameters, "check_hash").is_some_and(|value| value == "1" || value == 1);
    let given = given(call, &mut parameters)?;
    let Ok(_loading) = api.loading.try_lock() else {
        return Ok(Response::message(429, "Currently loading previous configuration").with("Retry-After", "1"));
    };
    if let Given::Text(text) = &given
        && checks
        && declarative::text_hash(text) == api.declared().hash
    {
        return Ok(Response::empty(304));
    }
    let read = apart(|| -> Result<_, Box<Invalid>> {
        let declared = parse(api, given)?;
        let answer = Response::json_text(201, shown(&declared));
        Ok((Rows::from(declared), answer))
    });
    match read {
        Ok((rows, answer)) => {
            load(api, rows)?;
            Ok(answer)
        }
        Err(invalid) => Ok(refusal(&invalid, flattens)),
    }
}

/// The entities as JSON, without making a copy of them first: there may be hundreds of megabytes.
fn shown(declared: &Declarative) -> Vec<u8> {
    let mut out = Vec::new();
    let write = |entity: &Value, out: &mut Vec<u8>| {
        pace::breathe();
        json::write(entity, out);
    };
    json::write_object(declared.shown(), &mut out, |all, out| json::write_object(all, out, write));
    out
}

/// Does work of which little remains on a thread of its own, for the sake of the memory: the allocator keeps what a thread
/// asks for in one place, which then empties as a whole. Among what stays, the values of a large file would leave holes that
/// cannot be given back to the system.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A valid configuration as the store takes it.
struct Rows {
    rows: Vec<Change>,
    hash: String,
}

impl From<Declarative> for Rows {
    fn from(declared: Declarative) -> Self {
        let row = |(entity, value): (String, Value)| {
            let id = value.get("id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
            Change { entity, id: id.unwrap_or_default(), value: Some(value) }
        };
        Self { hash: declared.hash.clone(), rows: pace::each(declared.into_rows()).map(row).collect() }
    }
}

fn parse(api: &Api, given: Given) -> Result<Declarative, Box<Invalid>> {
    let parse = |cx: &schema::Context<'_>| match given {
        Given::Text(text) => declarative::parse(&text, &api.catalog, cx).map_err(Box::new),
        Given::Itself(value) => declarative::parse_value(value, &api.catalog, cx).map_err(Box::new),
    };
    api.with_context(parse)
}

/// A flag of the query, or of the body, and out of the body.
fn flag(call: &Call<'_>, parameters: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let of_body = parameters.shift_remove(name);
    call.argument(name).map(|value| value.map_or(Value::Bool(true), Value::String)).or(of_body)
}

fn refusal(invalid: &Invalid, flattens: bool) -> Response {
    let body = if flattens { invalid.flattened() } else { invalid.error().to_json() };
    Response::json(400, &body)
}

fn load(api: &Api, Rows { rows, hash }: Rows) -> Result<(), Error> {
    api.store.replace(rows)?;
    api.declared().hash = hash;
    Ok(())
}

pub(crate) fn load_text(api: &Api, text: &str) -> Result<(), Error> {
    let _loading = api.loading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rows = apart(|| parse(api, Given::Text(text.to_owned())).map(Rows::from));
    load(api, rows.map_err(|invalid| invalid.error())?)
}
