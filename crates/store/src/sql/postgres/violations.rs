//! What PostgreSQL refuses, in Kong's words. The rules are checked before a row is written; what others wrote in between, the
//! database's own constraints find.
use super::columns::{Constraint, SqlTable};
use crate::rules::index_fields;
use crate::{Error, Layout, Table};
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

/// An error that no constraint explains. Its text has no values in it: they may be secrets.
pub(super) fn failed(error: &tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        return Error::unavailable(&format!("the connection to PostgreSQL failed: {text}"));
    };
    let code = said.code();
    // Invalid values: the message would quote them.
    if code.code().starts_with("22") {
        if *code == SqlState::CHARACTER_NOT_IN_REPERTOIRE || *code == SqlState::UNTRANSLATABLE_CHARACTER {
            return Error::schema_violation(
                json!({ "@entity": ["PostgreSQL cannot keep the character NUL in a string"] }),
            );
        }
        return Error::database(&format!("PostgreSQL refused a value ({})", code.code()));
    }
    let text = format!("PostgreSQL: {} ({})", said.message(), code.code());
    // Connections, resources, a server that goes or comes, serialisation, time limits, who may connect, a standby.
    let is_passing =
        ["08", "53", "57", "40", "28", "25006", "3D000"].iter().any(|class| code.code().starts_with(class));
    if is_passing { Error::unavailable(&text) } else { Error::database(&text) }
}

/// Why a row cannot be written.
pub(super) fn refused_row(error: &tokio_postgres::Error, table: &Table, sql: &SqlTable, row: &Value) -> Error {
    let Some(said) = error.as_db_error() else { return failed(error) };
    match said.constraint().and_then(|name| sql.constraints.get(name)) {
        Some(Constraint::Key) => {
            let key = row.get(&table.key).cloned().unwrap_or_default();
            Error::primary_key_violation(&json!({ &table.key: key }))
        }
        Some(Constraint::Unique(columns)) => {
            let index = table.unique.iter().find(|index| match index.parts.as_slice() {
                [part] => columns.iter().any(|column| *column == sql.column_of(part)),
                _ => columns.iter().any(|column| column == "cache_key") || columns.len() == index.parts.len(),
            });
            index.map_or_else(|| failed(error), |index| Error::unique_violation(&index_fields(index, row)))
        }
        Some(Constraint::Foreign(columns)) => {
            let reference =
                table.references.iter().find(|reference| columns.contains(&format!("{}_id", reference.field)));
            reference.map_or_else(
                || failed(error),
                |reference| {
                    let key = row.get(&reference.field).cloned().unwrap_or_default();
                    Error::foreign_key_violation_invalid_reference(&reference.field, &key, &reference.entity)
                },
            )
        }
        None => failed(error),
    }
}

/// Why a row cannot be deleted: another one refers to it.
pub(super) fn refused_removal(error: &tokio_postgres::Error, table: &Table, layout: &Layout) -> Error {
    let Some(said) = error.as_db_error() else { return failed(error) };
    if *said.code() != SqlState::FOREIGN_KEY_VIOLATION {
        return failed(error);
    }
    let name = said.table().unwrap_or_default();
    let child = layout.tables().iter().find(|child| super::columns::table_name(&child.name) == name);
    Error::foreign_key_violation_restricted(&table.name, child.map_or(name, |child| &child.name))
}
