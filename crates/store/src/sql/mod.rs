//! Backends that speak SQL. SQLite has a layout of its own, generic over the schemas; a PostgreSQL backend has Kong's tables.
mod commits;
mod sqlite;
mod sqlite_rows;

pub use sqlite::Sqlite;
