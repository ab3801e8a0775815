//! Schemas as `/schemas` answers them: everything that is data, functions left out.

use serde_json::{Map, Value, json};

use crate::field::{Constraint, Kind, Match};
use crate::{EntitySchema, Field, Flag, RecordSchema, Subschema};

impl EntitySchema {
    /// `{"fields": [..], "entity_checks": [..]}`.
    pub fn to_json(&self) -> Value {
        whole(&self.record)
    }
}

impl Subschema {
    /// As [`EntitySchema::to_json`], of the fields that the subschema gives.
    pub fn to_json(&self) -> Value {
        whole(&self.record)
    }
}

fn whole(record: &RecordSchema) -> Value {
    json!({ "fields": fields(record), "entity_checks": checks(record) })
}

fn fields(record: &RecordSchema) -> Value {
    record
        .fields()
        .filter(|(_, field)| !field.is(Flag::Hidden))
        .map(|(name, field)| json!({ name: field.to_json() }))
        .collect()
}

fn checks(record: &RecordSchema) -> Value {
    shown_checks(record).map(crate::Check::to_json).collect()
}

/// A check about a field that is not shown is not shown either.
fn shown_checks(record: &RecordSchema) -> impl Iterator<Item = &crate::Check> {
    let is_hidden = |name: &str| record.get(name).is_some_and(|field| field.is(Flag::Hidden));
    record.checks().iter().filter(move |check| !check.names().any(is_hidden))
}

impl RecordSchema {
    /// What a record adds to its field.
    fn render(&self, out: &mut Map<String, Value>) {
        out.insert("fields".into(), fields(self));
        if shown_checks(self).next().is_some() {
            out.insert("entity_checks".into(), checks(self));
        }
        let is_shown = |shorthand: &&crate::record::Shorthand| !shorthand.field.is(Flag::Hidden);
        if self.shorthands().iter().any(|shorthand| is_shown(&shorthand)) {
            let shorthands =
                self.shorthands().iter().filter(is_shown).map(|s| json!({ s.name.as_str(): s.field.to_json() }));
            out.insert("shorthand_fields".into(), shorthands.collect());
        }
    }

    /// The record by itself, e.g. a plugin's configuration.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        self.render(&mut out);
        Value::Object(out)
    }
}

/// Numbers that are whole are written so.
fn number(value: f64) -> Value {
    let mut out = Value::from(value);
    if value.fract() == 0.0 && value.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and small enough")]
        let whole = value as i64;
        out = whole.into();
    }
    out
}

impl Field {
    /// The field's attributes.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        self.render_kind(&mut out);
        if let Some(required) = self.required {
            out.insert("required".into(), required.into());
        }
        if let Some(default) = &self.default {
            out.insert("default".into(), default.clone());
        }
        let flags = [
            (Flag::Auto, "auto"),
            (Flag::Unique, "unique"),
            (Flag::UniqueAcrossWs, "unique_across_ws"),
            (Flag::Referenceable, "referenceable"),
            (Flag::Encrypted, "encrypted"),
            (Flag::Immutable, "immutable"),
            (Flag::Transient, "transient"),
            (Flag::Abstract, "abstract"),
        ];
        for (_, name) in flags.into_iter().filter(|(flag, _)| self.is(*flag)) {
            out.insert(name.into(), true.into());
        }
        if self.is(Flag::NotUnique) {
            out.insert("unique".into(), false.into());
        }
        for constraint in self.constraints() {
            if let Some((name, value)) = render(constraint) {
                out.insert(name.into(), value);
            }
        }
        let texts = [("on_delete", &self.on_delete), ("err", &self.err), ("description", &self.description)];
        for (name, text) in texts {
            if let Some(text) = text {
                out.insert(name.into(), text.clone().into());
            }
        }
        if let Some(deprecation) = &self.deprecation {
            let mut notice = json!({
                "message": deprecation.message,
                "removal_in_version": deprecation.removal_in_version,
            });
            if let Some(old) = &deprecation.old_default {
                notice["old_default"] = old.clone();
            }
            if !deprecation.replaced_with.is_empty() {
                notice["replaced_with"] =
                    deprecation.replaced_with.iter().map(|path| json!({ "path": path })).collect();
            }
            out.insert("deprecation".into(), notice);
        }
        Value::Object(out)
    }

    fn render_kind(&self, out: &mut Map<String, Value>) {
        let name = match &self.kind {
            Kind::Any => return,
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Array(_) => "array",
            Kind::Set(_) => "set",
            Kind::Map(..) => "map",
            Kind::Record(_) => "record",
            Kind::Foreign(_) => "foreign",
            Kind::Json => "json",
            Kind::Function => "function",
        };
        out.insert("type".into(), name.into());
        match &self.kind {
            Kind::Array(elements) | Kind::Set(elements) => {
                out.insert("elements".into(), elements.to_json());
            }
            Kind::Map(keys, values) => {
                out.insert("keys".into(), keys.to_json());
                out.insert("values".into(), values.to_json());
            }
            Kind::Record(record) if !self.is(Flag::Abstract) => record.render(out),
            Kind::Foreign(entity) => {
                out.insert("reference".into(), entity.clone().into());
            }
            _ => {}
        }
    }

    /// A condition's attributes: what it says besides the field it is about.
    pub(crate) fn to_condition_json(&self) -> Value {
        let mut out = self.to_json();
        if let (Value::Object(map), Kind::Array(_)) = (&mut out, &self.kind) {
            map.remove("type");
        }
        out
    }
}

fn matched(one: &Match) -> Value {
    let mut out = json!({ "pattern": one.pattern.source() });
    if let Some(err) = &one.err {
        out["err"] = err.clone().into();
    }
    out
}

fn render(constraint: &Constraint) -> Option<(&'static str, Value)> {
    Some(match constraint {
        Constraint::Eq(value) => ("eq", value.clone()),
        Constraint::Ne(value) => ("ne", value.clone()),
        Constraint::NotOneOf(list) => ("not_one_of", list.clone().into()),
        Constraint::OneOf(list) | Constraint::OneOfBeyond(list, _) => ("one_of", list.clone().into()),
        Constraint::Gt(limit) => ("gt", number(*limit)),
        Constraint::Timestamp => ("timestamp", true.into()),
        Constraint::Uuid => ("uuid", true.into()),
        Constraint::IsRegex => ("is_regex", true.into()),
        Constraint::Between(low, high) => ("between", vec![number(*low), number(*high)].into()),
        Constraint::LenEq(length) => ("len_eq", (*length).into()),
        Constraint::LenMin(length) => ("len_min", (*length).into()),
        Constraint::LenMax(length) => ("len_max", (*length).into()),
        Constraint::StartsWith(prefix) => ("starts_with", prefix.clone().into()),
        Constraint::NotMatch(pattern) => ("not_match", pattern.source().into()),
        Constraint::MatchNone(list) => ("match_none", list.iter().map(matched).collect()),
        Constraint::Match(pattern) => ("match", pattern.source().into()),
        Constraint::MatchAll(list) => ("match_all", list.iter().map(matched).collect()),
        Constraint::MatchAny(patterns, err) => {
            let mut out = json!({ "patterns": patterns.iter().map(crate::lua::Pattern::source).collect::<Vec<_>>() });
            if let Some(err) = err {
                out["err"] = err.clone().into();
            }
            ("match_any", out)
        }
        Constraint::Contains(value) => ("contains", value.clone()),
        Constraint::Custom(_) => return None,
        Constraint::JsonSchema(schema) => ("json_schema", schema.clone()),
        Constraint::MutuallyExclusiveSubsets(subsets) => ("mutually_exclusive_subsets", subsets.clone().into()),
    })
}
