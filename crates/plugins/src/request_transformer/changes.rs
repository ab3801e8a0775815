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

    /// Names and values of a list.
    pub(super) fn pairs<'a>(
        entries: &'a [Self],
        values: &'a Values<'_>,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> + 'a {
        entries.iter().map(|entry| entry.name.as_str()).zip(values.iter().map(|value| &**value))
    }

    /// Names and values of a list as members of JSON; without those whose values are none of their types.
    pub(super) fn members<'a>(
        entries: &'a [Self],
        values: &'a Values<'_>,
    ) -> impl Iterator<Item = (&'a str, serde_json::Value)> + 'a {
        entries.iter().zip(values).filter_map(|(entry, value)| {
            let value = entry.json_type.value(&String::from_utf8_lossy(value))?;
            Some((entry.name.as_str(), value))
        })
    }

    fn values<'a>(entries: &'a [Self], request: &Request<'_>) -> Result<Values<'a>, Fault> {
        let values = entries.iter().map(|entry| match &entry.value {
            Value::Fixed(text) => Ok(Cow::Borrowed(text.as_slice())),
            Value::Template(template) => Ok(Cow::Owned(template.render(request)?.into_owned())),
        });
        values.collect()
    }
}

/// The values of all changes, for one request.
pub(super) struct AllValues<'a> {
    pub(super) rename: Values<'a>,
    pub(super) replace: Values<'a>,
    pub(super) add: Values<'a>,
    pub(super) append: Values<'a>,
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

    /// Renders all values, also those that will change nothing: a template that fails always fails.
    pub(super) fn values<'a>(&'a self, request: &Request<'_>) -> Result<AllValues<'a>, Fault> {
        Ok(AllValues {
            rename: Entry::values(&self.rename, request)?,
            replace: Entry::values(&self.replace, request)?,
            add: Entry::values(&self.add, request)?,
            append: Entry::values(&self.append, request)?,
        })
    }
}
