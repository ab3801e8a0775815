//! The log document: what every logging plugin writes (`kong.log.serialize`), built on demand in the log phase.

mod document;
mod writer;

use crate::Context;
use serde::ser::Serialize;
use serde_json::{Map, Value};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread::LocalKey;
use writer::Writer;

/// A member that a plugin adds to the log document (`kong.log.set_serialize_value`).
#[derive(Clone, Debug, PartialEq)]
pub struct LogField {
    /// A path of names joined by dots; a backslash before a dot makes it part of the name.
    path: Cow<'static, str>,
    value: Member,
}

/// What becomes of a member.
#[derive(Clone, Debug, PartialEq)]
enum Member {
    /// As many bytes of UTF-8 as ids have are kept without an allocation: most of them are never asked for.
    Text(SmallVec<[u8; 48]>),
    Json(Value),
    Gone,
}

impl Member {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Text(text) => out.text(text),
            Self::Json(value) => out.raw(&value.to_string()),
            Self::Gone => {}
        }
    }
}

impl LogField {
    pub fn new(path: impl Into<Cow<'static, str>>, value: Value) -> Self {
        Self { path: path.into(), value: Member::Json(value) }
    }

    /// A text, which costs nothing but its bytes until there is a document. What is no UTF-8 in it is replaced.
    pub fn text(path: &'static str, text: impl AsRef<[u8]>) -> Self {
        Self { path: path.into(), value: Member::Text(SmallVec::from_slice(text.as_ref())) }
    }

    /// Takes the member out.
    pub fn none(path: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), value: Member::Gone }
    }

    fn value(&self) -> Option<Value> {
        match &self.value {
            Member::Text(text) => Some(String::from_utf8_lossy(text).into()),
            Member::Json(value) => Some(value.clone()),
            Member::Gone => None,
        }
    }

    /// The member's name, or the name of the object that holds it and its own; `None` where it is deeper or has an escape,
    /// belongs to a member of the document's own, or goes.
    fn names(&self) -> Option<(&str, Option<&str>)> {
        let (top, name) = match self.path.split_once('.') {
            Some((top, name)) => (top, Some(name)),
            None => (&*self.path, None),
        };
        let is_short = !self.path.contains('\\') && !name.is_some_and(|name| name.contains('.'));
        (is_short && self.value != Member::Gone && !document::MEMBERS.contains(&top)).then_some((top, name))
    }
}

/// The text of a request's document, once a plugin has asked for it; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Text(Rc<Vec<u8>>);

impl Text {
    /// JSON, as UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same, which is looked through for it.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("{}")
    }
}

impl From<Vec<u8>> for Text {
    fn from(json: Vec<u8>) -> Self {
        Self(Rc::new(json))
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

thread_local! {
    /// The last document: mostly nobody holds it any longer, and the next one is written in its place.
    static LAST: RefCell<Text> = RefCell::default();
}

/// A longer document is not kept.
const KEPT_BYTES: usize = 64 * 1024;

/// The log document of a request, as JSON; all plugins of one request share it.
pub fn text(cx: &mut Context) -> Text {
    if let Some(known) = &cx.log_text {
        return known.clone();
    }
    let Text(mut last) = LAST.take();
    let mut bytes = Rc::get_mut(&mut last).map(std::mem::take).unwrap_or_default();
    bytes.clear();
    let mut out = Writer::on(bytes);
    document::write(cx, &mut out);
    let is_whole = add(&cx.log_fields, &mut out);
    bytes = out.into_bytes();
    if !is_whole {
        bytes = with_fields(&bytes, &cx.log_fields).into_bytes();
    }
    match Rc::get_mut(&mut last) {
        Some(place) => *place = bytes,
        None => last = Rc::new(bytes),
    }
    let text = Text(last);
    if text.0.capacity() <= KEPT_BYTES {
        LAST.set(text.clone());
    }
    cx.log_text = Some(text.clone());
    text
}

/// Puts what plugins add behind the document's own members, where nothing of it has a place among them; whether it has none.
fn add(fields: &[LogField], out: &mut Writer) -> bool {
    let Some(names): Option<SmallVec<[_; 4]>> = fields.iter().map(LogField::names).collect() else { return false };
    let is_alone = |(at, (top, name)): (usize, &(&str, Option<&str>))| {
        let mut others = names.iter().skip(at + 1).filter(|(other, _)| other == top);
        others.all(|(_, other)| name.is_some() && other.is_some() && other != name)
    };
    if !names.iter().enumerate().all(is_alone) {
        return false;
    }
    if fields.is_empty() {
        return true;
    }
    out.reopen();
    for (at, (field, (top, name))) in fields.iter().zip(&names).enumerate() {
        if names.iter().take(at).any(|(earlier, _)| earlier == top) {
            continue;
        }
        out.raw(",");
        out.text(top.as_bytes());
        out.raw(":");
        if name.is_none() {
            field.value.write(out);
            continue;
        }
        let mut before = "{";
        for (field, (_, name)) in fields.iter().zip(&names).filter(|(_, (other, _))| other == top) {
            out.raw(std::mem::replace(&mut before, ","));
            out.text(name.unwrap_or_default().as_bytes());
            out.raw(":");
            field.value.write(out);
        }
        out.raw("}");
    }
    out.raw("}");
    true
}

/// The document with what plugins add to it, or take out.
fn with_fields(document: &[u8], fields: &[LogField]) -> String {
    let mut document: Value = serde_json::from_slice(document).unwrap_or_default();
    for field in fields {
        set(&mut document, &field.path, field.value());
    }
    document.to_string()
}

/// The log document of a request, for those who send another one.
pub fn document(cx: &mut Context) -> Value {
    serde_json::from_slice(text(cx).as_bytes()).unwrap_or_default()
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
