//! The body of a write, in any of its notations, as a JSON object.
use crate::bounded::{self, Refused};
use crate::dispatch::Call;
use crate::failure::{Failure, Outcome};
use crate::urlencoded::{self, Argument, MOST_ARGUMENTS};
use crate::{Response, multipart};
use schema::{EntitySchema, Error};
use serde_json::{Map, Value, json};

pub(crate) type FormArguments = Vec<(String, Option<String>)>;

pub(crate) enum Body {
    Absent,
    Json(Map<String, Value>),
    /// Arguments whose types the schema must tell.
    Form(FormArguments),
    /// Of another type, YAML: its reader takes it as it came.
    Text,
}

impl Body {
    pub(crate) fn of(call: &Call<'_>) -> Outcome<Body> {
        let body = call.request.body.as_slice();
        let Some(content_type) = call.request.header("content-type") else { return Ok(Body::Absent) };
        if content_type.starts_with("application/json") {
            return json(body).map(Body::Json);
        }
        if content_type.starts_with("multipart/form-data") {
            return form(multipart::parts(content_type, body)).map(Body::Form);
        }
        if content_type.starts_with("application/x-www-form-urlencoded") {
            return form(urlencoded::arguments(body)).map(Body::Form);
        }
        Ok(Body::Text)
    }

    /// As the schema understands it. `subschema`: the key of the stored entity, where a form need not repeat it.
    pub(crate) fn entity(&self, schema: &EntitySchema, subschema: Option<&str>) -> Outcome<Value> {
        let decoded = match self {
            // No entity has so many fields, and each unknown one would be a line of the answer.
            Body::Json(fields) if fields.len() > MOST_ARGUMENTS => return Err(too_many()),
            Body::Json(fields) => return Ok(Value::Object(fields.clone())),
            Body::Absent | Body::Text => return Ok(Value::Object(Map::new())),
            Body::Form(arguments) => match subschema {
                Some(key) if !arguments.iter().any(|(name, _)| Some(name) == schema.subschema_key.as_ref()) => {
                    schema.decode_form_for(arguments, key)
                }
                _ => schema.decode_form(arguments),
            },
        };
        decoded.map_err(|_| too_many())
    }

    /// Without a schema: forms keep their texts.
    pub(crate) fn untyped(&self) -> Outcome<Value> {
        match self {
            Body::Json(fields) => Ok(Value::Object(fields.clone())),
            Body::Absent | Body::Text => Ok(Value::Object(Map::new())),
            Body::Form(arguments) => schema::form::decode_untyped(arguments).map_err(|_| too_many()),
        }
    }
}

fn too_many() -> Failure {
    Failure::message(400, "Too many arguments")
}

fn json(body: &[u8]) -> Outcome<Map<String, Value>> {
    match bounded::parse(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        // To Lua a list is a table with the keys 1, 2, ...
        Ok(Value::Array(items)) => {
            Ok(items.into_iter().enumerate().map(|(i, item)| ((i + 1).to_string(), item)).collect())
        }
        Err(Refused::TooMany) => Err(too_many()),
        _ => Err(Response::message(400, "Cannot parse JSON body").into()),
    }
}

fn form(arguments: Vec<Argument>) -> Outcome<FormArguments> {
    if arguments.len() > MOST_ARGUMENTS {
        return Err(too_many());
    }
    arguments
        .into_iter()
        .map(|(name, value)| {
            let name = String::from_utf8(name).map_err(|error| {
                let tree = json!({ "@entity": [not_utf8(error.as_bytes())] });
                Failure::from(Error::schema_violation(tree))
            })?;
            let value = value.map(String::from_utf8).transpose().map_err(|error| {
                let path: String = name.chars().filter(|c| !matches!(c, '[' | ']')).collect();
                Failure::from(Error::schema_violation(schema::error::field(&path, not_utf8(error.as_bytes()))))
            })?;
            Ok((name, value))
        })
        .collect()
}

pub(crate) fn not_utf8(text: &[u8]) -> String {
    let valid = std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    format!("invalid utf-8 character sequence detected at position {}", valid + 1)
}
