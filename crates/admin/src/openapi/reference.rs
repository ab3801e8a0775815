//! The reference of the Admin API (docs/admin-api.md), and of the configuration of plugins (docs/plugins).
use super::{Endpoint, Settings, described, entities, shown, summary, table};
use crate::PluginEndpoint;
use entities::{Catalog, PluginSchema};
use schema::{Constraint, EntitySchema, Field, Flag, Kind, RecordSchema};
use serde_json::Value;
use std::fmt::Write as _;

const INTRODUCTION: &str = include_str!("introduction.md");

/// The reference as Markdown.
pub fn reference(catalog: &Catalog, plugin_endpoints: &[PluginEndpoint], settings: &Settings) -> String {
    let routes = table(catalog, plugin_endpoints, settings);
    let mut out = INTRODUCTION.to_owned();
    let mut endpoints: Vec<(String, &Endpoint)> = routes
        .all()
        .filter(|endpoint| !endpoint.is_disabled)
        .map(|endpoint| (shown(&endpoint.path), endpoint))
        .collect();
    endpoints.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
    out.push_str("\n## Endpoints of entities\n\nWhat each method does follows from the path; see [Entities](#entities) for the fields.\n");
    out.push_str("\n| path | methods | entity |\n|---|---|---|\n");
    let is_plain = |path: &str, endpoint: &Endpoint| {
        endpoint.shape.is_some() && endpoint.methods().all(|method| described::summary(method, path).is_none())
    };
    for (path, endpoint) in endpoints.iter().filter(|(path, endpoint)| is_plain(path, endpoint)) {
        let entity = endpoint.shape.as_ref().map(|shape| shape.entity.as_str()).unwrap_or_default();
        let _ = writeln!(out, "| `{path}` | {} | {entity} |", endpoint.allowed());
    }
    out.push_str("\n## Other endpoints\n\n| method | path | what it does |\n|---|---|---|\n");
    for (path, endpoint) in endpoints.iter().filter(|(path, endpoint)| !is_plain(path, endpoint)) {
        for method in endpoint.methods() {
            let _ = writeln!(out, "| {method} | `{path}` | {} |", summary(method, path, endpoint));
        }
    }
    out.push_str("\n## Entities\n");
    for schema in entities(catalog) {
        entity(schema, &mut out);
    }
    out
}

fn entity(schema: &EntitySchema, out: &mut String) {
    let _ = write!(out, "\n### {}\n\n", schema.name);
    if let Some(key) = &schema.endpoint_key {
        let _ = write!(out, "In paths: `id` or `{key}`.");
    } else {
        out.push_str("In paths: `id`.");
    }
    if schema.cache_key.len() > 1 {
        let _ = write!(out, " Unique together: {}.", named(&schema.cache_key));
    }
    if schema.ttl {
        out.push_str(" Takes `ttl`: seconds until it is gone.");
    }
    out.push_str("\n\n");
    out.push_str(TABLE);
    rows("", &schema.record, false, out);
}

const TABLE: &str = "| field | type | default | rules | |\n|---|---|---|---|---|\n";

/// What a plugin is configured with, as Markdown: where it may be, Kong's fields, then those that Kong does not have.
/// `phases`: the phases it has work in.
pub fn plugin_reference(schema: &PluginSchema, priority: i32, phases: &[&str]) -> String {
    let field = |name: &str| schema.record.fields().find(|(known, _)| *known == name).map(|(_, field)| field);
    let may_have = |scope: &&str| {
        let is_null = |constraint: &Constraint| matches!(constraint, Constraint::Eq(value) if value.is_null());
        field(scope).is_none_or(|field| !field.constraints().iter().any(is_null))
    };
    let scopes: Vec<&str> = ["route", "service", "consumer"].into_iter().filter(may_have).collect();
    let protocols = match field("protocols").map(|field| &field.kind) {
        Some(Kind::Set(elements)) => elements.constraints().iter().find_map(|constraint| match constraint {
            Constraint::OneOf(all) | Constraint::OneOfBeyond(all, _) => {
                Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        }),
        _ => None,
    };
    let mut out = format!(
        "| | |\n|---|---|\n| phases | {} |\n| priority | {priority} |\n| scopes | {}, everything |\n| protocols | {} |\n",
        phases.join(", "),
        scopes.join(", "),
        protocols.unwrap_or_else(|| "all".to_owned())
    );
    let Some(Kind::Record(config)) = field("config").map(|field| &field.kind) else { return out };
    for (title, hidden) in [("\n## Configuration\n\n", false), ("\n## Configuration beyond Kong's\n\n", true)] {
        let mut fields = String::new();
        rows("", config, hidden, &mut fields);
        match (fields.is_empty(), hidden) {
            (false, _) => out.extend([title, TABLE, &fields]),
            (true, false) => out.extend([title, "It has no fields.\n"]),
            (true, true) => {}
        }
    }
    out
}

fn named(fields: &[String]) -> String {
    fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")
}

/// The rows of fields that are hidden, or of those that are not.
fn rows(prefix: &str, record: &RecordSchema, hidden: bool, out: &mut String) {
    let fields = record.fields().map(|(name, field)| (name, field, false));
    let shorthands = record.shorthands().iter().map(|shorthand| (shorthand.name.as_str(), &shorthand.field, true));
    for (name, field, is_shorthand) in fields.chain(shorthands) {
        let name = format!("{prefix}{name}");
        let inner = match &field.kind {
            Kind::Record(inner) if !is_shorthand => Some(inner),
            _ => None,
        };
        if field.is(Flag::Hidden) != hidden {
            if let Some(inner) = inner.filter(|_| hidden) {
                rows(&format!("{name}."), inner, hidden, out);
            }
            continue;
        }
        let default = match &field.default {
            // Of a secret, the default is made at random.
            Some(value) if !value.is_null() && field.is(Flag::Encrypted) => "random".to_owned(),
            Some(value) if !value.is_null() && !matches!(field.kind, Kind::Record(_)) => format!("`{value}`"),
            _ => String::new(),
        };
        let mut rules = rules(field);
        if is_shorthand {
            rules.insert(0, "stands for other fields".to_owned());
        }
        let about = field.description.as_deref().unwrap_or_default();
        let cells = [format!("`{name}`"), kind(field), default, rules.join("; "), about.to_owned()];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
        if let Some(inner) = inner {
            // Of a field that Kong does not have, all is beyond Kong; its own fields are not hidden once more.
            rows(&format!("{name}."), inner, false, out);
        }
    }
}

fn kind(field: &Field) -> String {
    match &field.kind {
        Kind::Any => "any".to_owned(),
        Kind::String => "string".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Array(elements) => format!("array of {}", kind(elements)),
        Kind::Set(elements) => format!("set of {}", kind(elements)),
        Kind::Map(_, values) => format!("map to {}", kind(values)),
        Kind::Record(_) => "record".to_owned(),
        Kind::Foreign(entity) => format!("one of [{entity}](#{entity})"),
        Kind::Json => "JSON".to_owned(),
        Kind::Function => "function".to_owned(),
    }
}

fn rules(field: &Field) -> Vec<String> {
    let mut rules = Vec::new();
    if field.is(Flag::Auto) {
        rules.push("generated".to_owned());
    } else if field.is_required() && field.default.is_none() && !matches!(field.kind, Kind::Record(_)) {
        rules.push("required".to_owned());
    }
    if field.is(Flag::Unique) {
        rules.push("unique".to_owned());
    }
    if field.is(Flag::Referenceable) {
        rules.push("may refer to a vault".to_owned());
    }
    rules.extend(field.constraints().iter().filter_map(rule));
    let of_elements = match &field.kind {
        Kind::Array(elements) | Kind::Set(elements) => elements.constraints(),
        _ => &[],
    };
    rules.extend(of_elements.iter().filter_map(rule).map(|rule| format!("each {rule}")));
    rules
}

fn rule(constraint: &Constraint) -> Option<String> {
    let listed = |values: &[Value]| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    Some(match constraint {
        Constraint::Eq(value) => format!("must be `{value}`"),
        Constraint::Ne(value) => format!("must not be `{value}`"),
        Constraint::NotOneOf(values) => format!("none of {}", listed(values)),
        Constraint::OneOf(values) | Constraint::OneOfBeyond(values, _) => format!("one of {}", listed(values)),
        Constraint::Gt(limit) => format!("above {limit}"),
        Constraint::Uuid => "a UUID".to_owned(),
        Constraint::IsRegex => "a regular expression (PCRE)".to_owned(),
        Constraint::Between(low, high) => format!("{low} to {high}"),
        Constraint::LenEq(length) => format!("of length {length}"),
        Constraint::LenMin(length) => format!("of length {length} or more"),
        Constraint::LenMax(length) => format!("of length {length} or less"),
        Constraint::StartsWith(prefix) => format!("starts with `{prefix}`"),
        _ => return None,
    })
}
