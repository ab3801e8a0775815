//! The store of the harness: rows in memory, without time to live.

use crate::{Storage, StorageError, Stored, Write};
use entities::{Oauth2AuthorizationCode, Oauth2Token, Session, SessionMetadata};
use schema::{Context, Entity, EntitySchema, Error, Resolver};
use serde_json::Value;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Rows of the entities that plugins keep. Schemas fill them as they do in the gateway.
#[derive(Default)]
pub struct MemoryStorage {
    rows: Mutex<Vec<Row>>,
    made: Mutex<u8>,
}

#[derive(Clone)]
struct Row {
    entity: &'static str,
    value: Value,
    ttl: Option<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Nothing;

impl Resolver for Nothing {
    fn resolve(&mut self, _: &str, _: &str, _: &Value) -> Result<Option<Value>, Error> {
        Ok(None)
    }
}

fn schema_of(entity: &str) -> Result<&'static Arc<EntitySchema>, StorageError> {
    Ok(match entity {
        "oauth2_authorization_codes" => Oauth2AuthorizationCode::schema(),
        "oauth2_tokens" => Oauth2Token::schema(),
        "sessions" => Session::schema(),
        "session_metadatas" => SessionMetadata::schema(),
        other => return Err(StorageError::Refused(format!("no entity '{other}'"))),
    })
}

impl MemoryStorage {
    /// The rows of an entity, each with its time to live.
    pub fn rows(&self, entity: &str) -> Vec<(Value, Option<Duration>)> {
        lock(&self.rows).iter().filter(|row| row.entity == entity).map(|row| (row.value.clone(), row.ttl)).collect()
    }

    /// As if the rows had come to their end.
    pub fn clear(&self) {
        lock(&self.rows).clear();
    }

    fn step(&self, rows: &mut Vec<Row>, write: Write) -> Result<Option<Value>, StorageError> {
        let place =
            |rows: &[Row], entity: &str, id: Uuid| rows.iter().position(|row| row.entity == entity && has_id(row, id));
        let mut made = lock(&self.made);
        // Every byte differs from one row to the next, so that ids and keys do.
        *made = made.wrapping_add(1);
        let seed = *made;
        let random = move |bytes: &mut [u8]| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = seed.wrapping_mul(31).wrapping_add((at as u8).wrapping_mul(7)) % 248;
            }
        };
        let cx = Context { now: super::START, random: &random, schemas: &() };
        let refused = |error: Error| StorageError::Refused(error.to_string());
        match write {
            Write::Insert { entity, row, ttl } => {
                let value = schema_of(entity)?.insert(row, &cx, &mut Nothing).map_err(refused)?;
                rows.push(Row { entity, value: value.clone(), ttl });
                Ok(Some(value))
            }
            Write::Update { entity, id, patch, ttl } => {
                let Some(at) = place(rows, entity, id) else { return Ok(None) };
                let value = schema_of(entity)?.update(patch, &rows[at].value, &cx, &mut Nothing).map_err(refused)?;
                rows[at] = Row { entity, value: value.clone(), ttl: ttl.or(rows[at].ttl) };
                Ok(Some(value))
            }
            Write::Delete { entity, id } => {
                let Some(at) = place(rows, entity, id) else { return Ok(None) };
                rows.remove(at);
                Ok(Some(Value::Null))
            }
        }
    }
}

fn has_id(row: &Row, id: Uuid) -> bool {
    row.value.get("id").and_then(Value::as_str) == Some(id.to_string().as_str())
}

impl Storage for MemoryStorage {
    fn find(&self, entity: &'static str, field: &'static str, value: &str) -> Stored<Option<Arc<Value>>> {
        let rows = lock(&self.rows);
        let found = rows.iter().find(|row| row.entity == entity && row.value.get(field).is_some_and(|v| v == value));
        Box::pin(ready(Ok(found.map(|row| Arc::new(row.value.clone())))))
    }

    fn write(&self, writes: Vec<Write>) -> Stored<Option<Vec<Value>>> {
        let mut rows = lock(&self.rows);
        let mut new = rows.clone();
        let mut done = Vec::new();
        for write in writes {
            match self.step(&mut new, write) {
                Ok(Some(value)) => done.push(value),
                Ok(None) => return Box::pin(ready(Ok(None))),
                Err(error) => return Box::pin(ready(Err(error))),
            }
        }
        *rows = new;
        Box::pin(ready(Ok(Some(done))))
    }
}
