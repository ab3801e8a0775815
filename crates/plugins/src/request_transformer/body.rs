//! The changes of bodies and of the query.

use super::changes::{AllValues, Changes, Entry};
use pdk::args::Args;
use pdk::form::{Form, Multipart};
use pdk::json::Json;

/// What a body is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Multipart,
    Form,
}

impl Kind {
    /// Kong looks for the type anywhere in the field.
    pub(super) fn of(content_type: Option<&[u8]>) -> Option<Self> {
        let lower = content_type?.to_ascii_lowercase();
        let has = |media: &str| memchr::memmem::find(&lower, media.as_bytes()).is_some();
        if has("application/json") {
            Some(Self::Json)
        } else if has("multipart/form-data") {
            Some(Self::Multipart)
        } else if has("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }

    /// The body with the changes; `None`: it is left as it is, for it is not what it says.
    pub(super) fn changed(
        self,
        changes: &Changes,
        values: &AllValues<'_>,
        content_type: Option<&[u8]>,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        match self {
            Self::Json => {
                let mut json = if body.is_empty() { Json::empty() } else { Json::parse(body)? };
                change_json(changes, values, &mut json);
                Some(json.encode_compact())
            }
            Self::Form => {
                let mut args = Args::parse(body);
                change_args(changes, values, &mut args);
                Some(args.encode())
            }
            Self::Multipart => {
                let Ok(Form::Multipart(mut parts)) = Form::parse(content_type, body) else { return None };
                change_parts(changes, values, &mut parts);
                Some(Form::Multipart(parts).encode())
            }
        }
    }
}

fn change_json(changes: &Changes, values: &AllValues<'_>, json: &mut Json) {
    // Lua's truth: only what is absent or false is not there.
    let is_there = |json: &Json, name: &str| json.raw(name).is_some_and(|raw| raw != "false");
    for name in &changes.remove {
        json.remove(name);
    }
    for (old, new) in Entry::pairs(&changes.rename, &values.rename) {
        if is_there(json, old) {
            json.rename(old, &String::from_utf8_lossy(new));
        }
    }
    for (name, value) in Entry::members(&changes.replace, &values.replace) {
        if is_there(json, name) {
            json.set(name, &value);
        }
    }
    for (name, value) in Entry::members(&changes.add, &values.add) {
        if !is_there(json, name) {
            json.set(name, &value);
        }
    }
    for (name, value) in Entry::members(&changes.append, &values.append) {
        json.append(name, &value);
    }
}

/// The changes of a form or a query.
pub(super) fn change_args(changes: &Changes, values: &AllValues<'_>, args: &mut Args) {
    for name in &changes.remove {
        args.remove(name.as_bytes());
    }
    for (old, new) in Entry::pairs(&changes.rename, &values.rename) {
        args.rename(old.as_bytes(), new);
    }
    for (name, value) in Entry::pairs(&changes.replace, &values.replace) {
        if args.contains(name.as_bytes()) {
            args.set(name.as_bytes(), Some(value));
        }
    }
    for (name, value) in Entry::pairs(&changes.add, &values.add) {
        if !args.contains(name.as_bytes()) {
            args.append(name.as_bytes(), Some(value));
        }
    }
    for (name, value) in Entry::pairs(&changes.append, &values.append) {
        let is_bare = {
            let mut known = args.get_all(name.as_bytes());
            matches!((known.next(), known.next()), (Some(None), None))
        };
        // A name alone is no value to append to.
        if is_bare {
            args.set(name.as_bytes(), Some(value));
        } else {
            args.append(name.as_bytes(), Some(value));
        }
    }
}

/// Of a multipart form, what is renamed comes before what is removed, and nothing is appended.
fn change_parts(changes: &Changes, values: &AllValues<'_>, parts: &mut Multipart) {
    for (old, new) in Entry::pairs(&changes.rename, &values.rename) {
        if let Some(value) = parts.get(old).map(<[u8]>::to_vec)
            && parts.put(&String::from_utf8_lossy(new), &value)
            && old.as_bytes() != new
        {
            parts.remove(old);
        }
    }
    for name in &changes.remove {
        parts.remove(name);
    }
    for (name, value) in Entry::pairs(&changes.replace, &values.replace) {
        if parts.get(name).is_some() {
            parts.put(name, value);
        }
    }
    for (name, value) in Entry::pairs(&changes.add, &values.add) {
        if parts.get(name).is_none() {
            parts.put(name, value);
        }
    }
}
