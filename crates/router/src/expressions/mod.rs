//! Kong's expression language: parsed and checked by Kong's own atc-router (`entities::route::expression`), run by our
//! predicates, which the index can look into.

mod keys;
mod predicate;

pub(crate) use predicate::Predicate;

/// Parses an expression and makes it ready to run.
pub(crate) fn compile(text: &str, is_stream: bool) -> Result<Predicate, String> {
    Predicate::new(&entities::route::expression::parse(text, is_stream)?)
}
