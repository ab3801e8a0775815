//! The log document: what every logging plugin writes (`kong.log.serialize`), built on demand in the log phase.

mod document;
mod writer;

use crate::Context;
use serde::ser::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread::LocalKey;
use writer::Writer;

/// A member that a plugin adds to the log document (`kong.log.set_serialize_value`).
#[derive(Clone, Debug, PartialEq)]
pub struct LogField {
    /// A path of names joined by dots; a backslash before a dot makes it part of the name.
    pub path: Cow<'static, str>,
    /// `None` takes the member out.
    pub value: Option<Value>,
}

/// The text of a request's document, once a plugin has asked for it.
struct Text(Rc<str>);

thread_local! {
    /// Where documents are written before their length is known.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::default();
}

/// What the scratch may keep for the next document.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The log document of a request, as JSON; all plugins of one request share it.
pub fn text(cx: &mut Context) -> Rc<str> {
    if let Some(Text(known)) = cx.data.get::<Text>() {
        return known.clone();
    }
    let mut out = Writer::on(SCRATCH.take());
    document::write(cx, &mut out);
    let mut written = out.into_bytes();
    let text: Rc<str> = match std::str::from_utf8(&written) {
        Ok(text) if cx.log_fields.is_empty() => text.into(),
        Ok(text) => with_fields(text, &cx.log_fields).into(),
        Err(_) => "{}".into(),
    };
    if written.capacity() <= SCRATCH_BYTES {
        written.clear();
        SCRATCH.set(written);
    }
    cx.data.set(Text(text.clone()));
    text
}

/// The document with what plugins add to it, or take out.
fn with_fields(document: &str, fields: &[LogField]) -> String {
    let mut added = Value::Object(Map::new());
    for field in fields {
        set(&mut added, &field.path, field.value.clone());
    }
    let is_new = |field: &LogField| {
        let name = split(&field.path).swap_remove(0);
        field.value.is_some() && !document::MEMBERS.contains(&name.as_str())
    };
    if let Some(open) = document.strip_suffix('}').filter(|_| fields.iter().all(is_new)) {
        let added = added.to_string();
        return format!("{open},{}", added.strip_prefix('{').unwrap_or(&added));
    }
    let mut document: Value = serde_json::from_str(document).unwrap_or_default();
    for field in fields {
        set(&mut document, &field.path, field.value.clone());
    }
    document.to_string()
}

/// The log document of a request, for those who send another one.
pub fn document(cx: &mut Context) -> Value {
    serde_json::from_str(&text(cx)).unwrap_or_default()
}

/// Milliseconds between the upstream's response head and the end of its body.
fn receive_time(cx: &Context) -> u64 {
    match (cx.timing.upstream_head, cx.timing.upstream_end) {
        (Some(head), Some(end)) => end.saturating_duration_since(head).as_millis() as u64,
        _ => 0,
    }
}

/// Milliseconds that the gateway itself took: until the upstream was contacted, and passing the response on.
pub fn kong_latency(cx: &Context) -> u64 {
    cx.timing.proxy_ms() + receive_time(cx)
}

/// Milliseconds spent waiting for the upstream's response head, or for its failure; `None` where none was tried.
pub fn upstream_latency(cx: &Context) -> Option<u64> {
    let timing = &cx.timing;
    timing.upstream_ms().or_else(|| {
        let sent = timing.access_end.filter(|_| !cx.attempts.is_empty())?;
        Some(timing.end?.saturating_duration_since(sent).as_millis() as u64)
    })
}

/// Entities that documents have shown, and their texts. An entity that is gone leaves its place in memory here, so that no
/// other one can have its address.
type Shown<T> = RefCell<HashMap<*const T, (Weak<T>, Rc<str>), ahash::RandomState>>;

/// How many a thread remembers of a kind.
const MOST_SHOWN: usize = 4096;

thread_local! {
    static ROUTES: Shown<entities::Route> = RefCell::default();
    static SERVICES: Shown<entities::Service> = RefCell::default();
    static CONSUMERS: Shown<entities::Consumer> = RefCell::default();
}

/// An entity's text, which is the same in all documents; `show` makes it.
fn shown<T>(all: &'static LocalKey<Shown<T>>, which: &Arc<T>, show: impl FnOnce(&T) -> Value) -> Rc<str> {
    all.with_borrow_mut(|all| {
        if let Some((_, text)) = all.get(&Arc::as_ptr(which)) {
            return text.clone();
        }
        let text: Rc<str> = show(which).to_string().into();
        if all.len() >= MOST_SHOWN {
            all.clear();
        }
        all.insert(Arc::as_ptr(which), (Arc::downgrade(which), text.clone()));
        text
    })
}

/// A route or service as plugins show it: the members that have a value, and the workspace.
pub fn entity<T: Serialize>(cx: &Context, entity: &T) -> Value {
    let mut value = without_nulls(entity);
    if let Value::Object(members) = &mut value {
        members.entry("ws_id").or_insert_with(|| cx.shared.node.workspace_id.to_string().into());
    }
    value
}

fn without_nulls<T: Serialize>(entity: &T) -> Value {
    let mut value = serde_json::to_value(entity).unwrap_or_default();
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Sets or removes the member at a path. Objects on the way are made; what is no object is left alone.
fn set(document: &mut Value, path: &str, value: Option<Value>) {
    let mut names = split(path);
    let Some(last) = names.pop() else { return };
    let mut at = document;
    for name in names {
        let Value::Object(members) = at else { return };
        if value.is_none() && !members.contains_key(&name) {
            return;
        }
        at = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    let Value::Object(members) = at else { return };
    match value {
        Some(value) => {
            members.insert(last, value);
        }
        None => {
            members.shift_remove(&last);
        }
    }
}

fn split(path: &str) -> Vec<String> {
    if !path.contains('\\') {
        return path.split('.').map(str::to_owned).collect();
    }
    let mut names = vec![String::new()];
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        let is_escaped_dot = c == '\\' && chars.peek() == Some(&'.');
        match names.last_mut() {
            Some(name) if is_escaped_dot => {
                chars.next();
                name.push('.');
            }
            Some(name) if c != '.' => name.push(c),
            _ => names.push(String::new()),
        }
    }
    names
}

#[cfg(test)]
mod tests;
