//! Tests of the schema crate: small schemas in Kong's manner against Kong's recorded messages.

mod certificates;
mod derived;
mod entities;
mod forms;
mod lua;
mod validation;
mod validators;
mod writes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{Context, EntitySchema};

pub(crate) fn random(bytes: &mut [u8]) {
    bytes.iter_mut().zip((7..=247).cycle()).for_each(|(byte, n)| *byte = n);
}

pub(crate) type Catalog = HashMap<String, Arc<EntitySchema>>;

pub(crate) fn context(schemas: &Catalog) -> Context<'_> {
    Context { now: Duration::from_millis(1_700_000_000_123), random: &random, schemas }
}
