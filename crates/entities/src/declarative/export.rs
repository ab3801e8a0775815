//! A configuration as a declarative file: `config db_export`, `GET /config`.

use schema::{Map, Value};
use std::collections::HashMap;
use std::fmt::Write;

use crate::Catalog;

/// Collections that are of no use in another gateway.
const LEFT_OUT: [&str; 4] = ["tags", "clustering_data_planes", "oauth2_authorization_codes", "workspaces"];

/// The file of these rows: flat, parents before children, references as ids, nothing transformed again.
pub fn export<'r>(rows: impl Iterator<Item = (&'r str, &'r Value)>, catalog: &Catalog) -> String {
    let mut by_name: HashMap<&str, Vec<&Value>> = HashMap::new();
    for (entity, row) in rows {
        by_name.entry(entity).or_default().push(row);
    }
    let mut out = "_format_version: '3.0'\n_transform: false\n".to_owned();
    for schema in catalog.entities().filter(|schema| !LEFT_OUT.contains(&schema.name.as_str())) {
        let Some(rows) = by_name.get(schema.name.as_str()) else { continue };
        let _ = writeln!(out, "{}:", schema.name);
        let foreign: Vec<&str> = schema.foreign_fields().map(|(field, _)| field).collect();
        for row in rows.iter().filter_map(|row| row.as_object()) {
            let fields = row.iter().map(|(name, value)| {
                let id = foreign.contains(&name.as_str()).then(|| value.get("id")).flatten();
                (name.as_str(), id.unwrap_or(value))
            });
            mapping(&mut out, fields, 0, true);
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// `is_item`: the first line follows a dash.
fn mapping<'v>(out: &mut String, fields: impl Iterator<Item = (&'v str, &'v Value)>, level: usize, is_item: bool) {
    for (at, (name, value)) in fields.enumerate() {
        match (is_item, at) {
            (true, 0) => {
                indent(out, level);
                out.push_str("- ");
            }
            (true, _) => indent(out, level + 1),
            (false, _) => indent(out, level),
        }
        let _ = write!(out, "{}:", text(name));
        nested(out, value, if is_item { level + 1 } else { level });
    }
}

/// The value behind a name.
fn nested(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            mapping(out, fields(map), level + 1, false);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            list.iter().for_each(|item| element(out, item, level));
        }
        value => {
            let _ = writeln!(out, " {}", scalar(value));
        }
    }
}

fn element(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => mapping(out, fields(map), level, true),
        // A list in a list, which no entity of Kong has, is written in one line.
        value => {
            indent(out, level);
            let _ = writeln!(out, "- {}", scalar(value));
        }
    }
}

fn fields(map: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    map.iter().map(|(name, value)| (name.as_str(), value))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        // JSON is YAML.
        other => other.to_string(),
    }
}

/// Bare only where no reader could take it for anything but this text.
fn text(string: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let is_bare = string.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'))
        && string.chars().all(is_word)
        && !matches!(
            string.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if is_bare { string.to_owned() } else { Value::from(string).to_string() }
}
