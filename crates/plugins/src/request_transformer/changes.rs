//! The changes of one part of the request, with their values compiled.

use super::Values;
use super::config::{Config, Lists, pair};
use super::types::JsonType;
use crate::template::{Request, Template};
use schema::lua::Fault;
use std::borrow::Cow;

/// The changes of header fields, of the body or of the query.
pub(super) struct Changes {
    pub(super) remove: Vec<String>,
    pub(super) rename: Vec<Entry>,
    pub(super) replace: Vec<Entry>,
    pub(super) add: Vec<Entry>,
    pub(super) append: Vec<Entry>,
}

/// A name, and the value it gets.
pub(super) struct Entry {
    name: String,
    value: Value,
    /// What the value is in JSON.
    json_type: JsonType,
}

enum Value {
    Fixed(Vec<u8>),
    Template(Template),
}

impl Entry {
    fn all(entries: &[String], types: &[String]) -> Vec<Self> {
        // An entry without a value changes nothing.
        let typed = entries.iter().map(|entry| pair(entry)).zip(JsonType::all(types));
        typed
            .filter(|((_, value), _)| !value.is_empty())
            .map(|((name, value), json_type)| {
                let name = name.to_owned();
                let is_fixed = !value.contains("$(");
                let value =
                    if is_fixed { Value::Fixed(value.into()) } else { Value::Template(Template::lenient(value)) };
                Self { name, value, json_type }
            })
            .collect()
    }
}

/// A list of changes with its values for one request; empty where it is not tried.
#[derive(Default)]
pub(super) struct Rendered<'a> {
    entries: &'a [Entry],
    values: Values<'a>,
}

impl<'a> Rendered<'a> {
    fn new(entries: &'a [Entry], request: &Request<'_>) -> Result<Self, Fault> {
        let values = entries.iter().map(|entry| match &entry.value {
            Value::Fixed(text) => Ok(Cow::Borrowed(text.as_slice())),
            Value::Template(template) => Ok(Cow::Owned(template.render(request)?.into_owned())),
        });
        Ok(Self { entries, values: values.collect::<Result<_, _>>()? })
    }

    /// Names and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|entry| entry.name.as_str()).zip(self.values.iter().map(|value| &**value))
    }

    /// Names and values as members of JSON; without those whose values are none of their types.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, serde_json::Value)> {
        self.entries.iter().zip(&self.values).filter_map(|(entry, value)| {
            let value = entry.json_type.value(&String::from_utf8_lossy(value))?;
            Some((entry.name.as_str(), value))
        })
    }
}

/// The changes that are tried, with their values for one request.
pub(super) struct Tried<'a> {
    pub(super) remove: &'a [String],
    pub(super) rename: Rendered<'a>,
    pub(super) replace: Rendered<'a>,
    pub(super) add: Rendered<'a>,
    pub(super) append: Rendered<'a>,
}

impl Changes {
    pub(super) fn new<'a>(config: &'a Config, lists: fn(&'a Config) -> Lists<'a>) -> Self {
        let lists = lists(config);
        let [replaced, added, appended] = lists.types;
        Self {
            remove: lists.remove.iter().map(|entry| pair(entry).0.to_owned()).collect(),
            rename: Entry::all(lists.rename, &[]),
            replace: Entry::all(lists.replace, replaced),
            add: Entry::all(lists.add, added),
            append: Entry::all(lists.append, appended),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// Whether a template reads this global.
    pub(super) fn read(&self, global: &str) -> bool {
        let all = [&self.rename, &self.replace, &self.add, &self.append].into_iter().flatten();
        all.into_iter().any(|entry| match &entry.value {
            Value::Template(template) => template.reads(global) || template.reads("kong"),
            Value::Fixed(_) => false,
        })
    }

    /// All changes, with their values rendered, also of those that will change nothing: a template that fails always fails.
    pub(super) fn all(&self, request: &Request<'_>) -> Result<Tried<'_>, Fault> {
        self.tried(false, true, request)
    }

    /// The changes for what may be empty (where only what adds is tried) and may take more values of a name.
    pub(super) fn tried(&self, is_empty: bool, can_append: bool, request: &Request<'_>) -> Result<Tried<'_>, Fault> {
        let rendered = |is_tried: bool, entries| {
            if is_tried { Rendered::new(entries, request) } else { Ok(Rendered::default()) }
        };
        Ok(Tried {
            remove: if is_empty { &[] } else { &self.remove },
            rename: rendered(!is_empty, &self.rename)?,
            replace: rendered(!is_empty, &self.replace)?,
            add: rendered(true, &self.add)?,
            append: rendered(can_append, &self.append)?,
        })
    }
}
