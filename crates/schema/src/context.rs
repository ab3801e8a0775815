//! What a schema needs from outside while it works: the time, randomness and the other schemas.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::{EntitySchema, Error};

/// The caller's clock, randomness and catalogue, for as many threads as want them. The crate itself reads neither clocks nor
/// entropy.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Time since the Unix epoch.
    pub now: Duration,
    /// Fills the slice with random bytes.
    pub random: &'a (dyn Fn(&mut [u8]) + Sync),
    pub schemas: &'a dyn Schemas,
}

impl Context<'_> {
    pub(crate) fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A key or secret as Kong makes them: 32 letters and digits, every one equally likely.
    pub fn random_string(&self) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        const LENGTH: usize = 32;
        let mut out = String::with_capacity(LENGTH);
        let mut bytes = [0; 64];
        while out.len() < LENGTH {
            (self.random)(&mut bytes);
            // 248 is the greatest multiple of 62 in a byte: what is above would favour the first characters.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            out.extend(fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62))).map(|c| char::from(*c)));
        }
        out.truncate(LENGTH);
        out
    }
}

/// Finds the schema a foreign field refers to.
pub trait Schemas: Sync {
    fn entity(&self, name: &str) -> Option<&EntitySchema>;
}

/// Knows no other schema: a foreign value is then checked for its `id` alone.
impl Schemas for () {
    fn entity(&self, _: &str) -> Option<&EntitySchema> {
        None
    }
}

impl<S: BuildHasher + Sync> Schemas for HashMap<String, Arc<EntitySchema>, S> {
    fn entity(&self, name: &str) -> Option<&EntitySchema> {
        self.get(name).map(|schema| &**schema)
    }
}

/// Finds the stored entity that `{"name": "x"}` in a foreign field means.
pub trait Resolver {
    /// The primary key (`{"id": ".."}`) of the entity whose unique `field` has this value.
    ///
    /// # Errors
    /// What the look-up itself met, e.g. an unreachable database.
    fn resolve(&mut self, entity: &str, field: &str, value: &Value) -> Result<Option<Value>, Error>;
}

/// Resolves nothing.
impl Resolver for () {
    fn resolve(&mut self, _: &str, _: &str, _: &Value) -> Result<Option<Value>, Error> {
        Ok(None)
    }
}
