//! Backends that speak SQL. SQLite has a layout of its own, generic over the schemas; a PostgreSQL backend has Kong's tables.
mod commits;
mod postgres;
mod sqlite;
mod sqlite_counts;
mod sqlite_rows;

#[cfg(test)]
pub(crate) use postgres::for_tests;
pub use postgres::{Held, Loaded, Migrations, Postgres, PostgresSettings, Server, State, Watch};
pub use sqlite::Sqlite;
