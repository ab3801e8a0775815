//! The text of every message validation can give, in Kong's words.

use crate::lua;

pub const REQUIRED: &str = "required field missing";
pub const UNKNOWN: &str = "unknown field";
pub const MISSING_PK: &str = "missing primary key";
pub const IMMUTABLE: &str = "immutable field cannot be updated";
pub const ABSTRACT: &str = "error in schema definition: abstract field was not specialized";
pub const TIMESTAMP: &str = "expected a valid timestamp";
pub const UUID: &str = "expected a valid UUID";
pub const TTL: &str = "must be an integer between 0 and 100000000";

pub fn eq(value: &str) -> String {
    format!("value must be {value}")
}
pub fn ne(value: &str) -> String {
    format!("value must not be {value}")
}
pub fn gt(limit: f64) -> String {
    format!("value must be greater than {}", lua::number(limit))
}
/// The limits are printed without their fractions, as `%d` does.
pub fn between(low: f64, high: f64) -> String {
    format!("value should be between {} and {}", lua::number(low.trunc()), lua::number(high.trunc()))
}
pub fn len_eq(length: usize) -> String {
    format!("length must be {length}")
}
pub fn len_min(length: usize) -> String {
    format!("length must be at least {length}")
}
pub fn len_max(length: usize) -> String {
    format!("length must be at most {length}")
}
pub fn invalid(value: &str) -> String {
    format!("invalid value: {value}")
}
pub fn starts_with(prefix: &str) -> String {
    format!("should start with: {prefix}")
}
pub fn contains(value: &str) -> String {
    format!("expected to contain: {value}")
}
pub fn one_of(values: &str) -> String {
    format!("expected one of: {values}")
}
pub fn not_one_of(values: &str) -> String {
    format!("must not be one of: {values}")
}
pub fn is_regex(value: &str) -> String {
    format!("not a valid regex: {value}")
}
pub fn validation(value: &str) -> String {
    format!("failed validating: {value}")
}
pub fn transformation(reason: &str) -> String {
    format!("transformation failed: {reason}")
}
pub fn required_for_entity_check(updating: bool) -> &'static str {
    if updating { "field required for entity check when updating" } else { "field required for entity check" }
}
pub fn at_least_one_of(fields: &str, updating: bool) -> String {
    let when = if updating { "when updating, " } else { "" };
    format!("{when}at least one of these fields must be non-empty: {fields}")
}
pub fn only_one_of(fields: &str) -> String {
    format!("exactly one of these fields must be non-empty: {fields}")
}
pub fn distinct(fields: &str) -> String {
    format!("values of these fields must be distinct: {fields}")
}
pub fn mutually_required(fields: &str) -> String {
    format!("all or none of these fields must be set: {fields}")
}
pub fn mutually_exclusive(fields: &str) -> String {
    format!("only one or none of these fields must be set: {fields}")
}
pub fn mutually_exclusive_sets(sets: &str) -> String {
    format!("these sets are mutually exclusive: {sets}")
}
pub fn conditional(field: &str) -> String {
    format!("failed conditional validation given value of field '{field}'")
}
/// A deprecated field and its successor that say different things.
pub fn mismatch(old: &str, old_value: &str, new: &str, new_value: &str) -> String {
    format!(
        "both deprecated and new field are used but their values mismatch: {old} = {old_value} vs {new} = {new_value}"
    )
}
