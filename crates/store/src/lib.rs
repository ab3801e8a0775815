//! Where entities are kept. One trait, [`Store`], and its backends: [`Memory`], [`Sqlite`] (`database = embedded`),
//! [`Postgres`] and [`Off`] (`database = off`). Rules that Kong leaves to its database (primary, unique and foreign keys, cascades,
//! expiry) are stated once in `rules.rs` over the few primitives of `rows.rs`; no other crate names SQL.
mod changes;
mod clock;
mod health_mark;
mod layout;
mod memory;
mod off;
mod offset;
mod packed;
mod query;
mod rows;
mod rules;
mod sql;
mod store;
#[cfg(test)]
mod tests;

pub use changes::{Change, Follower};
pub use clock::{Clock, system_clock};
pub use health_mark::HealthMark;
pub use layout::Layout;
use layout::{Index, OnDelete, Part, Table};
pub use memory::Memory;
pub use off::Off;
pub use query::{Page, Query, TagFilter, Tagged, TagsPage};
pub use schema::Error;
pub use sql::{Held, Loaded, Migrations, Postgres, PostgresSettings, Server, Sqlite, State, Watch};
pub use store::{Along, Count, Reader, Store, Ttl, Writer};
