//! Finds the route of a request or connection, as Kong's three router flavors do, over an index instead of a list.
//!
//! Pure: no IO, no clock. A [`Router`] is immutable; [`Router::with_changes`] gives a new one that shares everything the
//! change does not touch.

mod checks;
mod compile;
mod context;
mod definition;
mod expressions;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod index;
mod matched;
pub mod path;
mod pattern;
mod query;
mod rank;
mod router;
mod why;

#[cfg(test)]
mod tests;

pub use entities::{Route, RouterFlavor as Flavor};
pub use matched::{Captures, Match};
pub use query::{Fields, NoFields, Protocol, Query};
pub use router::{BuildError, HasRoute, Router};
pub use why::unmet;
