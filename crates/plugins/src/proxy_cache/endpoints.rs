//! What the Admin API shows of the cache, and lets go.

use super::key;
use super::store::store;
use serde_json::{Map, Value, json};

/// The version of the form in which Kong keeps responses.
const VERSION: u8 = 1;

/// The newest response that is kept under a key, as Kong shows it.
pub fn cached(text: &str, now: u64) -> Option<Value> {
    let stored = store().newest(&key::parse(text)?, now)?;
    let mut headers = Map::new();
    for (name, value) in stored.headers.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = Value::from(String::from_utf8_lossy(value));
        match headers.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.take(), value]),
            None => {
                headers.insert(name, value);
            }
        }
    }
    headers.insert("connection".to_owned(), "keep-alive".into());
    headers.insert("X-Cache-Key".to_owned(), text.into());
    headers.insert("X-Cache-Status".to_owned(), stored.told.into());
    Some(json!({
        "status": stored.status,
        "headers": headers,
        "body": String::from_utf8_lossy(&stored.body),
        "body_len": stored.body.len(),
        // Requests with bodies are kept without them.
        "req_body": "",
        "timestamp": stored.timestamp,
        "ttl": stored.ttl,
        "version": VERSION,
    }))
}

/// Forgets one response; tells whether it was there.
pub fn forget(text: &str, now: u64) -> bool {
    key::parse(text).is_some_and(|key| store().remove(&key, now))
}

/// Forgets all responses.
pub fn forget_all() {
    store().clear();
}
