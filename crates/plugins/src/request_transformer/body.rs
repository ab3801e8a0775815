//! The changes of bodies and of the query.

use super::changes::{Changes, Tried};
use crate::template::Request;
use pdk::args::Args;
use pdk::form::{Form, Multipart};
use pdk::json::Json;
use schema::lua::Fault;

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

    /// The body with the changes; `None`: it is left as it is, for it is not what it says or nothing changed. In an empty
    /// body there is nothing to remove, rename or replace. Templates of changes that are not tried are not rendered.
    pub(super) fn changed(
        self,
        changes: &Changes,
        request: &Request<'_>,
        content_type: Option<&[u8]>,
        body: &[u8],
    ) -> Result<Option<Vec<u8>>, Fault> {
        let is_empty = body.is_empty();
        Ok(match self {
            Self::Json => {
                let json = if is_empty { Some(Json::empty()) } else { Json::parse(body) };
                let Some(mut json) = json else { return Ok(None) };
                let tried = changes.tried(is_empty, true, request)?;
                change_json(&tried, &mut json).then(|| json.encode_compact())
            }
            Self::Form => {
                let mut args = Args::parse(body);
                change_args(&changes.tried(is_empty, true, request)?, &mut args).then(|| args.encode())
            }
            Self::Multipart => {
                let Ok(Form::Multipart(mut parts)) = Form::parse(content_type, body) else { return Ok(None) };
                let tried = changes.tried(is_empty, false, request)?;
                change_parts(&tried, &mut parts).then(|| Form::Multipart(parts).encode())
            }
        })
    }
}

/// Makes the changes of a JSON body; tells whether any was made. What is removed counts also where it was not there.
fn change_json(tried: &Tried<'_>, json: &mut Json) -> bool {
    // Lua's truth: only what is absent or false is not there.
    let is_there = |json: &Json, name: &str| json.raw(name).is_some_and(|raw| raw != "false");
    let mut is_changed = !tried.remove.is_empty();
    for name in tried.remove {
        json.remove(name);
    }
    for (old, new) in tried.rename.pairs() {
        let new = String::from_utf8_lossy(new);
        if is_there(json, old) && old != new {
            json.rename(old, &new);
            is_changed = true;
        }
    }
    for (name, value) in tried.replace.members() {
        if is_there(json, name) {
            json.set(name, &value);
            is_changed = true;
        }
    }
    for (name, value) in tried.add.members() {
        if !is_there(json, name) {
            json.set(name, &value);
            is_changed = true;
        }
    }
    for (name, value) in tried.append.members() {
        json.append(name, &value);
        is_changed = true;
    }
    is_changed
}

/// The changes of a form or a query; tells whether any was made, as with JSON.
pub(super) fn change_args(tried: &Tried<'_>, args: &mut Args) -> bool {
    let mut is_changed = !tried.remove.is_empty();
    for name in tried.remove {
        args.remove(name.as_bytes());
    }
    for (old, new) in tried.rename.pairs() {
        is_changed |= old.as_bytes() != new && args.contains(old.as_bytes());
        args.rename(old.as_bytes(), new);
    }
    for (name, value) in tried.replace.pairs() {
        if args.contains(name.as_bytes()) {
            args.set(name.as_bytes(), Some(value));
            is_changed = true;
        }
    }
    for (name, value) in tried.add.pairs() {
        if !args.contains(name.as_bytes()) {
            args.append(name.as_bytes(), Some(value));
            is_changed = true;
        }
    }
    for (name, value) in tried.append.pairs() {
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
        is_changed = true;
    }
    is_changed
}

/// Of a multipart form, what is renamed comes before what is removed, and nothing is appended. Tells whether any change was
/// made, as with JSON.
fn change_parts(tried: &Tried<'_>, parts: &mut Multipart) -> bool {
    let mut is_changed = !tried.remove.is_empty();
    for (old, new) in tried.rename.pairs() {
        if old.as_bytes() != new
            && let Some(value) = parts.get(old).map(<[u8]>::to_vec)
            && parts.put(&String::from_utf8_lossy(new), &value)
        {
            parts.remove(old);
            is_changed = true;
        }
    }
    for name in tried.remove {
        parts.remove(name);
    }
    for (name, value) in tried.replace.pairs() {
        is_changed |= parts.get(name).is_some() && parts.put(name, value);
    }
    for (name, value) in tried.add.pairs() {
        is_changed |= parts.get(name).is_none() && parts.put(name, value);
    }
    is_changed
}
