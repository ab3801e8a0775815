//! The entities' schemas, by tables of input and what comes of it.

mod beyond;
mod catalog;
mod configuration;
mod expression;
mod secrets;
mod writes;

use schema::Value;

use crate::Catalog;
pub(crate) use crate::fuzzing::{catalog, with_context};

/// The error tree of an insert, or null.
fn refusal(catalog: &Catalog, entity: &str, input: Value) -> Value {
    let schema = catalog.entity(entity).unwrap();
    match with_context(catalog, |cx| schema.insert(input, cx, &mut ())) {
        Ok(_) => Value::Null,
        Err(error) => error.fields.clone().unwrap_or_else(|| error.to_json()),
    }
}

fn inserted(catalog: &Catalog, entity: &str, input: Value) -> Value {
    let schema = catalog.entity(entity).unwrap();
    with_context(catalog, |cx| schema.insert(input, cx, &mut ())).unwrap()
}
