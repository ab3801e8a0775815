//! Schemas from data: the shape of Kong's schema files and of `/schemas`, as a custom plugin brings it.

use serde_json::{Map, Value};

use crate::field::{Constraint, Match};
use crate::lua::Pattern;
use crate::{Check, Deprecation, Field, RecordSchema, Shorthand};
use std::sync::Arc;

/// Records deeper than this are refused.
const MAX_DEPTH: usize = 64;

impl RecordSchema {
    /// A record from `{"fields": [{"name": {..}}, ..], "entity_checks": [..], "shorthand_fields": [..]}`.
    ///
    /// # Errors
    /// What is wrong with the data, and where.
    pub fn from_json(schema: &Value) -> Result<Self, String> {
        record(schema, 0)
    }
}

impl Field {
    /// A field from its attributes.
    ///
    /// # Errors
    /// What is wrong with the data.
    pub fn from_json(attributes: &Value) -> Result<Self, String> {
        field(attributes, 0)
    }
}

fn record(schema: &Value, depth: usize) -> Result<RecordSchema, String> {
    if depth > MAX_DEPTH {
        return Err("records are nested too deeply".into());
    }
    let mut out = RecordSchema::default();
    for (name, attributes) in named(schema, "fields")? {
        out = out.field(name, field(attributes, depth).map_err(|err| format!("{name}: {err}"))?);
    }
    for (name, attributes) in named(schema, "shorthand_fields")? {
        let field = field(attributes, depth).map_err(|err| format!("{name}: {err}"))?;
        let backwards = field.deprecation.as_ref().and_then(|d| d.replaced_with.first().cloned());
        out = out.shorthand_field(Shorthand { name: name.clone(), field, expand: None, backwards });
    }
    for (name, arguments) in named(schema, "entity_checks")? {
        out = out.check(check(name, arguments, depth).map_err(|err| format!("{name}: {err}"))?);
    }
    Ok(out)
}

/// The entries of a list of objects of one entry each.
fn named<'v>(schema: &'v Value, key: &str) -> Result<Vec<(&'v String, &'v Value)>, String> {
    let list = match schema.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(Value::Object(map)) if map.is_empty() => return Ok(Vec::new()),
        Some(_) => return Err(format!("{key}: expected an array")),
    };
    let entry = |item: &'v Value| item.as_object().and_then(|map| map.iter().next());
    list.iter().map(|item| entry(item).ok_or_else(|| format!("{key}: expected one name and its attributes"))).collect()
}

fn field(attributes: &Value, depth: usize) -> Result<Field, String> {
    let map = attributes.as_object().ok_or("expected a field's attributes")?;
    let mut out = kind(map, depth)?;
    for (name, value) in map {
        out = attribute(out, name, value)?;
    }
    Ok(out)
}

fn kind(map: &Map<String, Value>, depth: usize) -> Result<Field, String> {
    let inner = |name: &str| match map.get(name) {
        Some(attributes) => field(attributes, depth + 1).map_err(|err| format!("{name}: {err}")),
        None => Ok(Field::any().required(false)),
    };
    Ok(match map.get("type").and_then(Value::as_str) {
        None if map.contains_key("elements") => Field::any().elements(inner("elements")?),
        None | Some("any") => Field::any(),
        Some("string") => Field::string(),
        Some("number") => Field::number(),
        Some("integer") => Field::integer(),
        Some("boolean") => Field::boolean(),
        Some("array") => Field::array(inner("elements")?),
        Some("set") => Field::set(inner("elements")?),
        Some("map") => Field::map(inner("keys")?, inner("values")?),
        Some("record") => {
            let whole = Value::Object(
                map.iter().filter(|(k, _)| is_structure(k)).map(|(k, v)| (k.clone(), v.clone())).collect(),
            );
            Field::record(Arc::new(record(&whole, depth + 1)?))
        }
        Some("foreign") => Field::foreign(map.get("reference").and_then(Value::as_str).unwrap_or_default()),
        Some("json") => Field::json(),
        Some("function") => Field::function(),
        Some(other) => return Err(format!("unknown type: {other}")),
    })
}

fn is_structure(name: &str) -> bool {
    matches!(
        name,
        "type" | "fields" | "elements" | "keys" | "values" | "entity_checks" | "shorthand_fields" | "reference"
    )
}

fn attribute(out: Field, name: &str, value: &Value) -> Result<Field, String> {
    let wrong = |wanted: &str| format!("{name}: expected {wanted}");
    let flag = || value.as_bool().ok_or_else(|| wrong("a boolean"));
    let text = || value.as_str().ok_or_else(|| wrong("a string"));
    let length = || value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong("a length"));
    let list = || value.as_array().ok_or_else(|| wrong("an array"));
    Ok(match name {
        "required" => out.required(flag()?),
        "default" => out.default(value.clone()),
        "auto" => out.auto(flag()?),
        "uuid" => out.uuid(flag()?),
        "timestamp" => out.timestamp(flag()?),
        "unique" => out.unique(flag()?),
        "unique_across_ws" => out.unique_across_ws(flag()?),
        "referenceable" => out.referenceable(flag()?),
        "encrypted" => out.encrypted(flag()?),
        "immutable" => out.immutable(flag()?),
        "transient" => out.transient(flag()?),
        "abstract" => out.abstract_record(flag()?),
        "is_regex" => out.is_regex(flag()?),
        "eq" => out.eq(value.clone()),
        "ne" => out.ne(value.clone()),
        "one_of" => out.one_of(list()?.iter().cloned()),
        "not_one_of" => out.not_one_of(list()?.iter().cloned()),
        "gt" => out.gt(value.as_f64().ok_or_else(|| wrong("a number"))?),
        "between" => match list()?.as_slice() {
            [low, high] => match (low.as_f64(), high.as_f64()) {
                (Some(low), Some(high)) => out.between(low, high),
                _ => return Err(wrong("two numbers")),
            },
            _ => return Err(wrong("two numbers")),
        },
        "len_eq" => out.len_eq(length()?),
        "len_min" => out.len_min(length()?),
        "len_max" => out.len_max(length()?),
        "starts_with" => out.starts_with(text()?),
        "contains" => out.contains(value.clone()),
        "match" => out.pattern(text()?),
        "not_match" => out.not_match(text()?),
        "match_all" => out.with(Constraint::MatchAll(matches(list()?)?)),
        "match_none" => out.with(Constraint::MatchNone(matches(list()?)?)),
        "match_any" => {
            let patterns = value.get("patterns").and_then(Value::as_array).ok_or_else(|| wrong("patterns"))?;
            let patterns = patterns.iter().filter_map(Value::as_str).map(Pattern::new).collect();
            let err = value.get("err").and_then(Value::as_str).map(str::to_owned);
            out.with(Constraint::MatchAny(patterns, err))
        }
        "mutually_exclusive_subsets" => {
            let subsets = list()?.iter().map(|subset| subset.as_array().cloned().ok_or_else(|| wrong("arrays")));
            out.with(Constraint::MutuallyExclusiveSubsets(subsets.collect::<Result<_, _>>()?))
        }
        "on_delete" => out.on_delete(text()?),
        "err" => out.err(text()?),
        "description" => out.description(text()?),
        "deprecation" => out.deprecation(deprecation(value)),
        known if is_structure(known) => out,
        // Attributes of later versions and functions change nothing that is data.
        _ => out,
    })
}

fn matches(list: &[Value]) -> Result<Vec<Match>, String> {
    let one = |item: &Value| {
        let pattern = item.get("pattern").and_then(Value::as_str).ok_or("expected a pattern")?;
        Ok(Match { pattern: Pattern::new(pattern), err: item.get("err").and_then(Value::as_str).map(str::to_owned) })
    };
    list.iter().map(one).collect()
}

fn deprecation(value: &Value) -> Deprecation {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut out = Deprecation::new(text("message"), text("removal_in_version"));
    out.old_default = value.get("old_default").cloned();
    for replaced in value.get("replaced_with").and_then(Value::as_array).into_iter().flatten() {
        let path = replaced.get("path").and_then(Value::as_array).into_iter().flatten();
        out = out.replaced_with(path.filter_map(Value::as_str));
    }
    out
}

/// A check that is a function is kept for what it says of its fields; the function itself is not data.
fn check(name: &str, arguments: &Value, depth: usize) -> Result<Check, String> {
    let names = |value: &Value| -> Result<Vec<String>, String> {
        let list = value.as_array().ok_or("expected names of fields")?;
        list.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(|| "expected a name".into())).collect()
    };
    let part = |name: &str| arguments.get(name).ok_or_else(|| format!("{name} is missing"));
    let text = |name: &str| part(name)?.as_str().ok_or_else(|| format!("{name}: expected a string"));
    let out = match name {
        "at_least_one_of" => Check::at_least_one_of(names(arguments)?),
        "only_one_of" => Check::only_one_of(names(arguments)?),
        "distinct" => Check::distinct(names(arguments)?),
        "mutually_required" => Check::mutually_required(names(arguments)?),
        "mutually_exclusive" => Check::mutually_exclusive(names(arguments)?),
        "mutually_exclusive_sets" => Check::mutually_exclusive_sets(names(part("set1")?)?, names(part("set2")?)?),
        "conditional" => Check::conditional(
            text("if_field")?,
            field(part("if_match")?, depth)?,
            text("then_field")?,
            field(part("then_match")?, depth)?,
        ),
        "conditional_at_least_one_of" => Check::conditional_at_least_one_of(
            text("if_field")?,
            field(part("if_match")?, depth)?,
            names(part("then_at_least_one_of")?)?,
        ),
        "custom_entity_check" => {
            let out = Check::custom(names(part("field_sources")?)?, |_| Ok(()));
            let flag = |name: &str| arguments.get(name).and_then(Value::as_bool) == Some(true);
            let out = if flag("run_with_missing_fields") { out.run_with_missing_fields() } else { out };
            if flag("run_with_invalid_fields") { out.run_with_invalid_fields() } else { out }
        }
        other => return Err(format!("unknown entity check: {other}")),
    };
    Ok(match arguments.get("then_err").and_then(Value::as_str) {
        Some(err) => out.then_err(err),
        None => out,
    })
}
