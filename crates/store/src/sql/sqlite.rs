//! `database = embedded`: one SQLite file, in WAL mode with every commit flushed, so an answered write survives a crash.
use super::commits::Commits;
use super::sqlite_counts;
use super::sqlite_rows::{SqliteRows, define, define_tags, failed};
use crate::changes::Followers;
use crate::rows::{Row, Rows};
use crate::rules::{Rules, key_of, normal};
use crate::{Change, Clock, Count, Error, Follower, Layout, Reader, Store, Writer};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub struct Sqlite {
    layout: Arc<Layout>,
    clock: Clock,
    path: PathBuf,
    writer: Mutex<Writing>,
    /// Threads that wait for the writer.
    waiting: AtomicUsize,
    settled: Condvar,
    readers: Mutex<Vec<Connection>>,
    followers: Followers,
}

struct Writing {
    connection: Connection,
    commits: Commits,
}

const IDLE_READERS: usize = 8;
const MOST_MEMBERS: usize = 64;
const CACHED_STATEMENTS: usize = 512;
/// Pages that a large transaction changes again and again, in random places of its indexes. A small one uses a few of them.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// The layout of the file; a later one migrates from it.
const FILE_VERSION: i64 = 1;

impl Sqlite {
    /// Opens the file, creating it and whatever of the layout is missing.
    pub fn open(path: &Path, layout: Arc<Layout>, clock: Clock) -> Result<Sqlite, Error> {
        let mut connection = Connection::open(path).map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(failed)?;
        let transaction = connection.transaction().map_err(failed)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        if version > FILE_VERSION {
            return Err(Error::database(&format!("{} was written by a newer version ({version})", path.display())));
        }
        define_tags(&transaction).map_err(failed)?;
        sqlite_counts::define(&transaction).map_err(failed)?;
        for table in layout.tables() {
            define(&transaction, table).map_err(failed)?;
        }
        transaction.pragma_update(None, "user_version", FILE_VERSION).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Sqlite {
            layout,
            clock,
            path: path.to_owned(),
            writer: Mutex::new(Writing { connection, commits: Commits::default() }),
            waiting: AtomicUsize::new(0),
            settled: Condvar::new(),
            readers: Mutex::default(),
            followers: Followers::default(),
        })
    }

    /// Writes a copy of the database, consistent in itself, to a file that must not exist yet.
    pub fn back_up(&self, target: &Path) -> Result<(), Error> {
        let connection = self.reader()?;
        let target = target.to_string_lossy();
        connection.execute("VACUUM INTO ?1", [target.as_ref()]).map_err(failed)?;
        self.give_back(connection);
        Ok(())
    }

    fn reader(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.path).map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
    }

    /// The writer, with a group open to join.
    fn join(&self) -> Result<MutexGuard<'_, Writing>, Error> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let locked = self.writer.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let mut writing = match locked {
            Ok(writing) => writing,
            // A transaction panicked: what its group had gathered is undone, and those who wait for it learn that.
            Err(poisoned) => {
                self.writer.clear_poison();
                let mut writing = poisoned.into_inner();
                if writing.commits.is_open {
                    let undone = writing.connection.execute_batch("ROLLBACK");
                    writing.commits.settle(Err(format!("a transaction of the same commit panicked ({undone:?})")));
                    self.settled.notify_all();
                }
                writing
            }
        };
        if !writing.commits.is_open {
            writing.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
            writing.commits.open();
        }
        Ok(writing)
    }

    fn commit(&self, writing: &mut Writing) {
        let begin = Instant::now();
        let outcome = if writing.commits.members == 0 {
            writing.connection.execute_batch("ROLLBACK").map_err(|error| error.to_string())
        } else {
            writing.connection.execute_batch("COMMIT").map_err(|error| {
                let undone = writing.connection.execute_batch("ROLLBACK");
                format!("{error} (rolled back: {undone:?})")
            })
        };
        writing.commits.took(begin.elapsed());
        if outcome.is_ok() {
            let changes = std::mem::take(&mut writing.commits.changes);
            self.followers.changed(&changes);
        }
        writing.commits.settle(outcome);
        self.settled.notify_all();
    }

    /// Commits the group, or leaves that to a thread that joins it, and waits for the outcome.
    fn settle(&self, mut writing: MutexGuard<'_, Writing>, has_written: bool) -> Result<(), Error> {
        /// Longer than anybody takes who was about to join.
        const LOST: Duration = Duration::from_secs(1);
        let group = writing.commits.group;
        let is_last = self.waiting.load(Ordering::SeqCst) == 0 || writing.commits.members >= MOST_MEMBERS;
        let patience = if has_written { writing.commits.patience() } else { None };
        if is_last && patience.is_none() {
            self.commit(&mut writing);
        }
        if !has_written {
            return Ok(());
        }
        let until = Instant::now() + if is_last { patience.unwrap_or(LOST) } else { LOST };
        loop {
            if let Some(outcome) = writing.commits.outcome(group) {
                return outcome.map_err(|reason| Error::database(&reason));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Nobody more came, or the thread that was counted on has died.
                self.commit(&mut writing);
                continue;
            }
            (writing, _) = self.settled.wait_timeout(writing, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Runs `work` as a member of a group commit; it gives whether it wants its writes kept, and its changes.
    fn transact(&self, work: &mut dyn FnMut(&Connection) -> (bool, Vec<Change>)) -> Result<(), Error> {
        let mut writing = self.join()?;
        writing.connection.execute_batch("SAVEPOINT member").map_err(failed)?;
        let (keeps, changes) = work(&writing.connection);
        let end = if keeps { "RELEASE member" } else { "ROLLBACK TO member; RELEASE member" };
        let ended = writing.connection.execute_batch(end).map_err(failed);
        let has_written = keeps && ended.is_ok();
        if has_written {
            writing.commits.members += 1;
            writing.commits.changes.extend(changes);
        }
        self.settle(writing, has_written)?;
        ended
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(())
}

impl Store for Sqlite {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn is_reachable(&self) -> bool {
        let Ok(connection) = self.reader() else { return false };
        let answers = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).is_ok();
        self.give_back(connection);
        answers
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Reader)) -> Result<(), Error> {
        let connection = self.reader()?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        work(&Rules::new(SqliteRows { connection: &connection }, &self.layout, (self.clock)()));
        connection.execute_batch("COMMIT").map_err(failed)?;
        self.give_back(connection);
        Ok(())
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn Writer) -> bool) -> Result<(), Error> {
        self.transact(&mut |connection| {
            let mut rules = Rules::new(SqliteRows { connection }, &self.layout, (self.clock)());
            rules.is_heard = !self.followers.is_empty();
            let keeps = work(&mut rules);
            (keeps, rules.changes)
        })
    }

    fn replace(&self, rows: Vec<Change>) -> Result<(), Error> {
        let mut outcome = Ok(());
        let mut writing = self.join()?;
        // What others gathered is committed first: the replacement is a commit of its own.
        if writing.commits.members > 0 {
            self.commit(&mut writing);
            writing.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
            writing.commits.open();
        }
        let replaced = replace(&writing.connection, &self.layout, &rows);
        let settled = replaced.and_then(|()| writing.connection.execute_batch("COMMIT").map_err(failed));
        match settled {
            Ok(()) => self.followers.replaced(&rows),
            Err(error) => {
                let undone = writing.connection.execute_batch("ROLLBACK").map_err(failed);
                outcome = undone.and(Err(error));
            }
        }
        writing.commits.settle(Ok(()));
        self.settled.notify_all();
        outcome
    }

    fn purge(&self) -> Result<usize, Error> {
        let mut purged = Ok(0);
        self.transact(&mut |connection| {
            let mut rules = Rules::new(SqliteRows { connection }, &self.layout, (self.clock)());
            purged = rules.purge(1000);
            (matches!(purged, Ok(count) if count > 0), rules.changes)
        })?;
        purged
    }

    /// Pages that connections have cached, up to megabytes each.
    fn rest(&self) {
        // Without it a connection keeps its pages, and nothing is lost.
        let shrink = |connection: &Connection| drop(connection.execute_batch("PRAGMA shrink_memory"));
        if let Ok(writing) = self.writer.try_lock()
            && !writing.commits.is_open
        {
            shrink(&writing.connection);
        }
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(shrink);
    }

    fn count(&self, counts: &[Count<'_>]) -> Result<Vec<i64>, Error> {
        let mut counted = Ok(Vec::new());
        self.transact(&mut |connection| {
            counted = sqlite_counts::add(connection, counts, (self.clock)()).map_err(failed);
            (counted.is_ok(), Vec::new())
        })?;
        counted
    }

    fn follow(&self, follower: Arc<dyn Follower>) {
        self.followers.add(follower);
    }
}

fn replace(connection: &Connection, layout: &Layout, rows: &[Change]) -> Result<(), Error> {
    connection.execute_batch("DELETE FROM \"entity tags\"").map_err(failed)?;
    for table in layout.tables() {
        let name = table.name.replace('"', "\"\"");
        connection.execute_batch(&format!("DELETE FROM \"{name}\"")).map_err(failed)?;
    }
    let mut into = SqliteRows { connection };
    for row in rows {
        let (Some(table), Some(value)) = (layout.table(&row.entity), &row.value) else { continue };
        let value = normal(table, value.clone());
        let key = key_of(table, &value)?.to_owned();
        into.put(table, &key, Row { value, expires: None }, None)?;
    }
    Ok(())
}
