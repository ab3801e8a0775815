//! What valid data looks like: Kong's schema language as run-time data.
//!
//! A [`RecordSchema`] lists fields with their types, defaults and constraints; an [`EntitySchema`] adds what makes a
//! record an entity; a [`Subschema`] is what a plugin or vault contributes. From these come validation with Kong's
//! exact error tree, defaults, the `/schemas` JSON and the typing of form fields. `#[derive(Record)]` writes a schema
//! from a struct.

mod check;
mod context;
mod entity;
pub mod error;
mod field;
pub mod form;
mod from_json;
pub mod lua;
mod process;
mod record;
mod render;
mod subschema;
pub mod typedefs;
mod types;
mod validate;
pub mod validators;
mod write;

pub use check::{Check, CheckError, is};
pub use context::{Context, Resolver, Schemas};
pub use entity::{Entity, EntitySchema};
pub use error::{Code, Error};
pub use field::{Constraint, Custom, Deprecation, Field, Flag, Kind, Match};
pub use form::FormError;
pub use record::{Record, RecordSchema, Shorthand, Transformation};
pub use schema_derive::Record;
pub use serde_json::{Map, Value, json};
pub use subschema::Subschema;
pub use types::{ConversionError, Foreign, Type};
pub use uuid::Uuid;
pub use write::Operation;

/// What `#[derive(Record)]` needs and nobody else should name.
#[doc(hidden)]
pub mod derive {
    pub use std::sync::{Arc, LazyLock};
}

// The derive's output names this crate from outside.
#[cfg(test)]
extern crate self as schema;

#[cfg(test)]
mod tests;
