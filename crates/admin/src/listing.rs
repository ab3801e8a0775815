//! Pages of collections: their size, offset and tags, and the link to the next.
use crate::dispatch::Call;
use crate::failure::{Failure, Outcome};
use crate::{Response, urlencoded};
use schema::{EntitySchema, Error};
use serde_json::{Map, Value, json};
use store::TagFilter;

const DEFAULT_SIZE: usize = 100;
const LARGEST_SIZE: f64 = 1000.0;
const MOST_TAGS: usize = 5;

/// Which page is asked for.
pub(crate) struct Paging {
    pub(crate) size: usize,
    pub(crate) offset: Option<String>,
}

impl Paging {
    pub(crate) fn of(call: &Call<'_>) -> Outcome<Paging> {
        let size = match call.argument("size") {
            None => DEFAULT_SIZE,
            // Given twice it is a list to Kong, and no number.
            Some(size) if call.values("size").count() == 1 => checked_size(&size.unwrap_or_default())?,
            Some(_) => checked_size("")?,
        };
        Ok(Paging { size, offset: call.argument("offset").map(Option::unwrap_or_default) })
    }
}

fn checked_size(text: &str) -> Outcome<usize> {
    let Some(size) = lua_number(text) else { return Err(Error::invalid_size("size must be a number").into()) };
    if size.fract() != 0.0 || !(1.0..=LARGEST_SIZE).contains(&size) {
        return Err(Error::invalid_size("size must be an integer between 1 and 1000").into());
    }
    Ok(size as usize)
}

/// The `size` of a page of targets, which as in Kong may be any number up to the largest.
pub(crate) fn any_size(call: &Call<'_>) -> Outcome<f64> {
    let Some(size) = call.argument("size") else { return Ok(DEFAULT_SIZE as f64) };
    let size = size.filter(|_| call.values("size").count() == 1).and_then(|text| lua_number(&text));
    Ok(size.ok_or_else(|| Error::invalid_size("size must be a number"))?.min(LARGEST_SIZE))
}

/// Lua's `tonumber`.
pub(crate) fn lua_number(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let number = u64::from_str_radix(hex, 16).ok()? as f64;
        return Some(if negative { -number } else { number });
    }
    // Rust knows words for infinity and the like, Lua does not.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    text.parse().ok()
}

/// The first `tags` argument, which may be written as an element of a list.
fn given_tags(call: &Call<'_>) -> Option<Option<String>> {
    call.argument("tags").or_else(|| call.argument("tags[]"))
}

/// The `tags` argument of a collection whose entities have tags.
pub(crate) fn tags(call: &Call<'_>, schema: &EntitySchema) -> Outcome<Option<TagFilter>> {
    let Some(given) = given_tags(call).filter(|_| schema.field("tags").is_some()) else { return Ok(None) };
    let refused = |message: &str| -> Failure { Error::invalid_options(json!({ "tags": message })).into() };
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Err(refused("cannot be null")) };
    let is_unreadable = text.chars().any(|c| c.is_ascii_control() || c == char::REPLACEMENT_CHARACTER);
    let (all, any) = (text.contains(','), text.contains('/'));
    let tags: Vec<String> = text.split([',', '/']).map(str::to_owned).collect();
    // As in Kong a separator may end the list: after it comes an empty tag, which nothing has.
    if is_unreadable || (all && any) || tags.iter().rev().skip(1).any(String::is_empty) {
        return Err(refused("invalid filter syntax"));
    }
    if tags.len() > MOST_TAGS {
        return Err(refused("cannot query more than 5 tags"));
    }
    Ok(Some(if any { TagFilter::Any(tags) } else { TagFilter::All(tags) }))
}

/// Which arguments of this page the link to the next one repeats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    TagsAndSize,
    Nothing,
}

/// The body of a page.
pub(crate) fn page(call: &Call<'_>, path: &str, data: Vec<Value>, offset: Option<String>, repeats: Repeats) -> Value {
    let mut body = Map::new();
    body.insert("data".to_owned(), Value::Array(data));
    let next = offset.as_ref().map(|offset| {
        let mut next = format!("{path}?offset={}", urlencoded::encode(offset));
        if repeats == Repeats::TagsAndSize {
            for (name, value) in [("tags", given_tags(call)), ("size", call.argument("size"))] {
                if let Some(Some(value)) = value {
                    next.push_str(&format!("&{name}={}", urlencoded::encode(&value)));
                }
            }
        }
        next
    });
    if let Some(offset) = offset {
        body.insert("offset".to_owned(), Value::String(offset));
    }
    body.insert("next".to_owned(), next.map_or(Value::Null, Value::String));
    Value::Object(body)
}

pub(crate) fn respond(
    call: &Call<'_>,
    path: &str,
    data: Vec<Value>,
    offset: Option<String>,
    repeats: Repeats,
) -> Response {
    Response::json(200, &page(call, path, data, offset, repeats))
}
