//! What the Admin API shows of the cache, and lets go.

use super::in_redis::InRedis;
use super::key;
use super::store::{Stored, store};
use crate::background;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long the Admin API waits for what is kept in Redis.
const PATIENCE: Duration = Duration::from_secs(10);

/// The version of the form in which Kong keeps responses.
const VERSION: u8 = 1;

/// The newest response that is kept under a key, as Kong shows it.
pub fn cached(text: &str, now: u64) -> Option<Value> {
    let key = key::parse(text)?;
    let stored = store().newest(&key, now).or_else(|| {
        let found = |shared: InRedis| async move { shared.newest(&key, now).await };
        ask(found).into_iter().flatten().next()
    });
    let stored: Arc<Stored> = stored?;
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
    let Some(key) = key::parse(text) else { return false };
    let is_removed = store().remove(&key, now);
    ask(|shared: InRedis| async move { shared.remove(&key).await }).contains(&true) || is_removed
}

/// Forgets all responses.
pub fn forget_all() {
    store().clear();
    ask(|shared: InRedis| async move { shared.clear().await });
}

/// Asks every Redis that responses are kept in. Waits for them: not for threads that proxy.
fn ask<T, F>(question: impl Fn(InRedis) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let Some(runtime) = background::runtime() else { return Vec::new() };
    let answers = InRedis::all().into_iter().map(|shared| {
        let (answer, answered) = sync_channel(1);
        let question = question(shared);
        runtime.spawn(async move { answer.send(question.await) });
        answered
    });
    let answers: Vec<_> = answers.collect();
    answers.into_iter().filter_map(|answered| answered.recv_timeout(PATIENCE).ok()).collect()
}
