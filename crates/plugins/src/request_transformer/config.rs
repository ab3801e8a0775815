//! The config of `request-transformer` and what Kong checks of it.

use super::types::TYPES;
use crate::template::Template;
use entities::PluginSchema;
use schema::{Record, Value, validators};
use serde::Deserialize;

const NONE: [&str; 0] = [];
const PAIR: &str = "^[^:]+:.*$";

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Config {
    /// The method that the service gets, in capitals.
    #[field(pattern = "^%u+$")]
    pub(super) http_method: Option<String>,
    /// What is taken out: names.
    pub(super) remove: Remove,
    /// What gets another name: `old:new`.
    pub(super) rename: Rename,
    /// What gets another value, where it is there: `name:value`.
    pub(super) replace: Replace,
    /// What is added, where it is not there: `name:value`.
    pub(super) add: Change,
    /// What is added in any case: `name:value`.
    pub(super) append: Change,
}

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Remove {
    /// Members of a JSON body or fields of a form.
    #[field(default = NONE)]
    body: Vec<String>,
    /// Header fields.
    #[field(default = NONE, elements(validator(names_header)))]
    headers: Vec<String>,
    /// Arguments of the query.
    #[field(default = NONE)]
    querystring: Vec<String>,
}

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Rename {
    /// Members of a JSON body or fields of a form.
    #[field(default = NONE, elements(validator(has_value)))]
    body: Vec<String>,
    /// Header fields.
    #[field(default = NONE, elements(pattern = PAIR, validator(names_two_headers)))]
    headers: Vec<String>,
    /// Arguments of the query.
    #[field(default = NONE, elements(validator(has_value)))]
    querystring: Vec<String>,
}

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Replace {
    /// Members of a JSON body or fields of a form.
    #[field(default = NONE, elements(validator(has_value)))]
    body: Vec<String>,
    /// The types that the values of `body` get in JSON, in its order: strings where too few are named. A text that is no number
    /// changes nothing. Not in Kong.
    #[field(hidden, elements(one_of(TYPES)))]
    json_types: Option<Vec<String>>,
    /// Header fields; `Host` is always there.
    #[field(default = NONE, elements(pattern = PAIR, validator(names_header)))]
    headers: Vec<String>,
    /// Arguments of the query.
    #[field(default = NONE, elements(validator(has_value)))]
    querystring: Vec<String>,
    /// The path that the service gets.
    pub(super) uri: Option<String>,
}

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Change {
    /// Members of a JSON body or fields of a form.
    #[field(default = NONE, elements(validator(has_value)))]
    body: Vec<String>,
    /// The types that the values of `body` get in JSON, in its order: strings where too few are named. A text that is no number
    /// changes nothing. Not in Kong.
    #[field(hidden, elements(one_of(TYPES)))]
    json_types: Option<Vec<String>>,
    /// Header fields.
    #[field(default = NONE, elements(pattern = PAIR, validator(names_header)))]
    headers: Vec<String>,
    /// Arguments of the query.
    #[field(default = NONE, elements(validator(has_value)))]
    querystring: Vec<String>,
}

/// The five lists of what is changed in one part of the request.
pub(super) struct Lists<'a> {
    pub(super) remove: &'a [String],
    pub(super) rename: &'a [String],
    pub(super) replace: &'a [String],
    pub(super) add: &'a [String],
    pub(super) append: &'a [String],
    /// Of the values of the last three; none but for bodies.
    pub(super) types: [&'a [String]; 3],
}

impl<'a> Lists<'a> {
    pub(super) fn headers(config: &'a Config) -> Self {
        Self {
            remove: &config.remove.headers,
            rename: &config.rename.headers,
            replace: &config.replace.headers,
            add: &config.add.headers,
            append: &config.append.headers,
            types: [&[]; 3],
        }
    }

    pub(super) fn body(config: &'a Config) -> Self {
        Self {
            remove: &config.remove.body,
            rename: &config.rename.body,
            replace: &config.replace.body,
            add: &config.add.body,
            append: &config.append.body,
            types: [&config.replace.json_types, &config.add.json_types, &config.append.json_types]
                .map(|types| types.as_deref().unwrap_or_default()),
        }
    }

    pub(super) fn querystring(config: &'a Config) -> Self {
        Self {
            remove: &config.remove.querystring,
            rename: &config.rename.querystring,
            replace: &config.replace.querystring,
            add: &config.add.querystring,
            append: &config.append.querystring,
            types: [&[]; 3],
        }
    }
}

/// `name:value` taken apart: all colons between name and value go.
pub(super) fn pair(entry: &str) -> (&str, &str) {
    let (name, value) = entry.split_once(':').unwrap_or((entry, ""));
    (name, value.trim_start_matches(':'))
}

fn text(entry: &Value) -> &str {
    entry.as_str().unwrap_or_default()
}

/// An entry has a value, and that is a template that compiles.
fn has_value(entry: &Value) -> Result<(), String> {
    let (name, value) = pair(text(entry));
    if name.is_empty() || value.is_empty() {
        return Err(format!("key '{name}' has no value"));
    }
    let compiled = Template::compile(value);
    compiled.map(|_| ()).map_err(|why| format!("value '{value}' is not in supported format, error:{why}"))
}

fn is_header(name: &str) -> Result<(), String> {
    let valid = validators::header_name(&Value::from(name));
    valid.map_err(|_| format!("'{name}' is not a valid header"))
}

fn names_header(entry: &Value) -> Result<(), String> {
    match pair(text(entry)).0 {
        // Where a colon comes first, Kong finds neither name nor value, and says so in Lua.
        "" => Err("'nil' is not a valid header".to_owned()),
        name => is_header(name),
    }
}

pub(crate) fn names_two_headers(entry: &Value) -> Result<(), String> {
    let (old, new) = pair(text(entry));
    is_header(old)?;
    is_header(new)
}

pub(super) fn schema() -> PluginSchema {
    PluginSchema::plugin(super::DEFINITION.name, Config::record())
}
