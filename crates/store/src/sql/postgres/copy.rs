//! The last good configuration, on this node's disk: what a node that cannot reach its database starts with. It holds
//! secrets, so nobody but the node's user can read the file.
use crate::{Change, Error};
use rusqlite::{Connection, params};
use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub(super) struct Copy {
    path: PathBuf,
    /// Which database it is a copy of.
    source: String,
    /// `None` after a failure: a copy that misses a change must not be used.
    connection: Mutex<Option<Connection>>,
}

/// A row of the copy.
pub(super) struct Copied {
    pub(super) entity: String,
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) expires: Option<f64>,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::database(&format!("the copy of the configuration on disk: {error}"))
}

impl Copy {
    /// Opens the copy, or makes an empty one.
    pub(super) fn open(path: &Path, source: &str) -> Result<Copy, Error> {
        // SQLite gives its other files the mode of this one.
        let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(failed)?;
        let connection = Connection::open(path).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A copy that a power cut takes back to an earlier state is still one.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS source (name TEXT NOT NULL) STRICT;
                 CREATE TABLE IF NOT EXISTS rows (entity TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL, expires REAL,
                   PRIMARY KEY (entity, key)) STRICT, WITHOUT ROWID",
            )
            .map_err(failed)?;
        Ok(Copy { path: path.to_owned(), source: source.to_owned(), connection: Mutex::new(Some(connection)) })
    }

    /// Runs `work` in a transaction; where that fails, the copy is given up and its file removed.
    fn write(&self, work: impl FnOnce(&Connection) -> Result<(), Error>) -> Result<(), Error> {
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = held.as_ref() else { return Ok(()) };
        connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        match work(connection) {
            Ok(()) => connection.execute_batch("COMMIT").map_err(failed),
            Err(error) => {
                connection.execute_batch("ROLLBACK").map_err(failed)?;
                Err(error)
            }
        }
        .inspect_err(|_| {
            *held = None;
            for end in ["", "-wal", "-shm"] {
                let mut name = self.path.clone().into_os_string();
                name.push(end);
                // What cannot be removed cannot be used either: its source is gone with the next start.
                let _ = std::fs::remove_file(name);
            }
        })
    }

    /// Fills the copy anew with what `fill` gives; it is as before where that fails.
    pub(super) fn rewrite(&self, fill: impl FnOnce(&mut dyn FnMut(&Copied)) -> Result<(), Error>) -> Result<(), Error> {
        let mut outcome = Ok(());
        let written = self.write(|connection| {
            connection.execute_batch("DELETE FROM rows; DELETE FROM source").map_err(failed)?;
            connection.execute("INSERT INTO source VALUES (?1)", [&self.source]).map_err(failed)?;
            let mut statement =
                connection.prepare("INSERT OR REPLACE INTO rows VALUES (?1, ?2, ?3, ?4)").map_err(failed)?;
            let mut lost = None;
            outcome = fill(&mut |row| {
                let values = params![row.entity, row.key, row.value.to_string(), row.expires];
                lost = statement.execute(values).err().or(lost.take());
            });
            match lost {
                Some(error) => Err(failed(error)),
                None => Ok(()),
            }
        });
        if let Err(error) = written {
            log::error!("{error}; without it, this node cannot start while the database is away");
        }
        outcome
    }

    /// Follows a committed change; what expires is known by its `ttl`.
    pub(super) fn apply(&self, changes: &[Change], now: f64) {
        let written = self.write(|connection| {
            let put = "INSERT OR REPLACE INTO rows VALUES (?1, ?2, ?3, ?4)";
            let mut put = connection.prepare_cached(put).map_err(failed)?;
            let remove = "DELETE FROM rows WHERE entity = ?1 AND key = ?2";
            let mut remove = connection.prepare_cached(remove).map_err(failed)?;
            for change in changes {
                let key = change.id.to_string();
                match &change.value {
                    Some(value) => {
                        let expires = value.get("ttl").and_then(Value::as_f64).map(|left| now + left);
                        put.execute(params![change.entity, key, value.to_string(), expires]).map_err(failed)?
                    }
                    None => remove.execute(params![change.entity, key]).map_err(failed)?,
                };
            }
            Ok(())
        });
        if let Err(error) = written {
            log::error!("{error}; without it, this node cannot start while the database is away");
        }
    }

    /// Every row; `false` where there is no copy of this database.
    pub(super) fn each(&self, visit: &mut dyn FnMut(Copied)) -> Result<bool, Error> {
        let held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = held.as_ref() else { return Ok(false) };
        let count = "SELECT count(*) FROM source WHERE name = ?1";
        let sources: i64 = connection.query_row(count, [&self.source], |row| row.get(0)).map_err(failed)?;
        if sources == 0 {
            return Ok(false);
        }
        let mut statement = connection.prepare("SELECT entity, key, row, expires FROM rows").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let text: String = row.get(2).map_err(failed)?;
            visit(Copied {
                entity: row.get(0).map_err(failed)?,
                key: row.get(1).map_err(failed)?,
                value: serde_json::from_str(&text).map_err(failed)?,
                expires: row.get(3).map_err(failed)?,
            });
        }
        Ok(true)
    }
}
