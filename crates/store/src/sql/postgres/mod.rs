//! `database = postgres`: Kong's own tables, shared with other nodes of ours and, if need be, with Kong's.
mod columns;
mod copy;
mod counts;
mod ends;
mod events;
mod follow;
mod migrations;
mod pool;
mod rows;
mod settings;
mod tls;
mod violations;

pub use follow::{Held, Watch};
pub use migrations::{Migrations, State};
pub use settings::{PostgresSettings, Server};

use crate::changes::Followers;
use crate::rows::{Row, Rows, Scan};
use crate::rules::{Rules, key_of, normal};
use crate::{Change, Clock, Count, Error, Follower, Layout, Reader, Store, Table, Writer};
use columns::SqlLayout;
use copy::{Copied, Copy};
use ends::Ends;
use events::Event;
use pool::{Pool, Sockets, Transaction};
use rows::PgRows;
use schema::EntitySchema;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;
use uuid::Uuid;

pub struct Postgres {
    layout: Arc<Layout>,
    schemas: HashMap<String, Arc<EntitySchema>>,
    clock: Clock,
    /// This node's id: whose events are its own.
    node: Uuid,
    settings: PostgresSettings,
    main: Pool,
    replica: Option<Pool>,
    sql: RwLock<Option<Arc<SqlLayout>>>,
    /// Held from a commit, or from reading what others committed, until the followers have heard of it: so they hear of the
    /// changes of one row in the order in which the database made them.
    gate: Mutex<()>,
    followers: Followers,
    ends: Mutex<Ends>,
    cleaned: Mutex<Option<Instant>>,
    copy: Option<Copy>,
    /// The database's time up to which events have been read.
    position: Mutex<Option<f64>>,
    /// Whether the database could not be reached when it was last tried.
    is_away: AtomicBool,
}

/// Where a configuration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Database,
    /// The database cannot be reached: the last good configuration from this node's disk.
    Disk,
}

/// Rows read at once.
const PAGE: usize = 1000;
/// Events written by one statement.
const TOLD_AT_ONCE: usize = 500;

impl Postgres {
    /// Connects to nothing yet. `schemas` bring rows that another version wrote into today's form.
    pub fn new(
        settings: PostgresSettings,
        layout: Arc<Layout>,
        schemas: impl IntoIterator<Item = Arc<EntitySchema>>,
        node: Uuid,
        clock: Clock,
    ) -> Result<Postgres, Error> {
        let sockets = Arc::new(Sockets::start()?);
        let main = Pool::new(&settings.main, Arc::clone(&sockets))?;
        let replica = settings.replica.as_ref().map(|server| Pool::new(server, Arc::clone(&sockets))).transpose()?;
        Ok(Postgres {
            layout,
            schemas: schemas.into_iter().map(|schema| (schema.name.clone(), schema)).collect(),
            clock,
            node,
            main,
            replica,
            settings,
            sql: RwLock::default(),
            gate: Mutex::default(),
            followers: Followers::default(),
            ends: Mutex::default(),
            cleaned: Mutex::default(),
            copy: None,
            position: Mutex::default(),
            is_away: AtomicBool::new(false),
        })
    }

    /// Keeps the last good configuration in a file (mode 0600).
    pub fn with_copy(mut self, file: &Path) -> Result<Postgres, Error> {
        let server = &self.settings.main;
        let source = format!("{server} {}", server.schema.as_deref().unwrap_or_default());
        self.copy = Some(Copy::open(file, &source)?);
        Ok(self)
    }

    /// What the migrations have made of the database.
    pub fn migrations(&self) -> Migrations<'_> {
        Migrations { main: &self.main, layout: &self.layout, schemas: &self.schemas }
    }

    /// The id of the workspace `default`, where the database has been seen.
    pub fn workspace(&self) -> Option<Uuid> {
        let sql = self.sql.read().unwrap_or_else(PoisonError::into_inner);
        sql.as_ref().map(|sql| sql.workspace)
    }

    fn sql(&self, transaction: &Transaction<'_>) -> Result<Arc<SqlLayout>, Error> {
        if let Some(sql) = &*self.sql.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(sql));
        }
        let sql = Arc::new(SqlLayout::read(transaction, &self.layout, &self.schemas)?);
        if sql.workspace.is_nil() {
            return Err(Error::unavailable("the database has no workspace 'default': its migrations have not run"));
        }
        *self.sql.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&sql));
        Ok(sql)
    }

    fn rules<'a>(&'a self, transaction: &'a Transaction<'a>, sql: &'a SqlLayout) -> Rules<'a, PgRows<'a>> {
        Rules::new(PgRows::new(transaction, &self.layout, sql), &self.layout, (self.clock)())
    }

    fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells other nodes, and commits: in one round trip, unless there is much to tell. Within the gate.
    fn announce(&self, transaction: Transaction<'_>, events: Vec<Event>) -> Result<(), Error> {
        let events = events::distinct(events);
        let is_short = events.len() <= TOLD_AT_ONCE;
        for events in events.chunks(TOLD_AT_ONCE).take(if is_short { 0 } else { usize::MAX }) {
            transaction.batch(&events::insertion(events, self.node))?;
        }
        let insertion = if is_short { events::insertion(&events, self.node) } else { String::new() };
        transaction.commit_after(&format!("{insertion}SELECT pg_notify('{}', '{}')", events::OWN, self.node))
    }

    /// Commits what `rules` wrote, and tells everybody.
    fn commit(&self, transaction: Transaction<'_>, changes: &[Change], events: Vec<Event>) -> Result<(), Error> {
        if changes.is_empty() && events.is_empty() {
            return transaction.commit();
        }
        let events = events::of_changes(changes).into_iter().chain(events).collect();
        let _gate = self.gate();
        self.announce(transaction, events)?;
        self.publish(changes);
        Ok(())
    }

    /// Within the gate.
    fn publish(&self, changes: &[Change]) {
        if let Some(copy) = &self.copy {
            copy.apply(changes, (self.clock)());
        }
        let mut ends = self.ends();
        for change in changes.iter().filter(|change| change.value.is_none()) {
            ends.forget(&(change.entity.clone(), change.id.to_string()));
        }
        drop(ends);
        self.followers.changed(changes);
    }

    /// Runs `work` in a transaction of the main server.
    fn transact(&self, work: &mut dyn FnMut(&mut Rules<'_, PgRows<'_>>) -> bool) -> Result<(), Error> {
        let transaction = self.main.begin(true)?;
        let sql = self.sql(&transaction)?;
        let mut rules = self.rules(&transaction, &sql);
        let keeps = work(&mut rules);
        let Rules { changes, rows: PgRows { events, ends, .. }, .. } = rules;
        if !keeps {
            transaction.roll_back();
            return Ok(());
        }
        self.ends().learn(ends.into_inner());
        self.commit(transaction, &changes, events)
    }

    /// Everything there is, for a node that starts: from the database, else from this node's disk.
    ///
    /// # Errors
    /// When there is neither.
    pub fn load(&self, visit: &mut dyn FnMut(&str, Value)) -> Result<Loaded, Error> {
        let gate = self.gate();
        let loaded = self.load_from_database(visit);
        drop(gate);
        match loaded {
            Err(error) if error.is_unavailable => {
                let (now, mut ends) = ((self.clock)(), Vec::new());
                let found = self.copy.as_ref().map(|copy| {
                    copy.each(&mut |row| {
                        if row.expires.is_none_or(|at| at > now) {
                            visit(&row.entity, row.value);
                            ends.push((row.entity, row.key, row.expires));
                        }
                    })
                });
                if !matches!(found, Some(Ok(true))) {
                    return Err(error);
                }
                self.ends().learn(ends);
                log::error!("{error}: serving the last good configuration, from this node's disk");
                Ok(Loaded::Disk)
            }
            outcome => outcome.map(|()| Loaded::Database),
        }
    }

    /// Within the gate.
    fn load_from_database(&self, visit: &mut dyn FnMut(&str, Value)) -> Result<(), Error> {
        let transaction = self.main.begin(false)?;
        let sql = self.sql(&transaction)?;
        let now = transaction.query("SELECT extract(epoch from clock_timestamp())::double precision", &[])?;
        let position: Option<f64> = now.first().map(|row| row.get(0));
        let rules = self.rules(&transaction, &sql);
        let mut read = |keep: &mut dyn FnMut(&Copied)| {
            self.layout.tables().iter().try_for_each(|table| {
                each_row(&rules, table, &mut |row| {
                    keep(&row);
                    visit(&table.name, row.value);
                })
            })
        };
        match &self.copy {
            Some(copy) => copy.rewrite(read)?,
            None => read(&mut |_| ())?,
        }
        self.ends().learn(rules.rows.ends.into_inner());
        transaction.commit()?;
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = position;
        Ok(())
    }

    /// Deletes rows whose time has come, if it is this node's turn to look.
    fn clean(&self) -> Result<usize, Error> {
        let mut cleaned = self.cleaned.lock().unwrap_or_else(PoisonError::into_inner);
        if cleaned.is_some_and(|at| at.elapsed() < self.settings.cleanup) {
            return Ok(0);
        }
        *cleaned = Some(Instant::now());
        drop(cleaned);
        let mut purged = Ok(0);
        self.transact(&mut |rules| {
            purged = rules.purge(PAGE);
            matches!(purged, Ok(count) if count > 0)
        })?;
        purged
    }
}

/// Every live row of a table, page by page.
fn each_row(rules: &Rules<'_, PgRows<'_>>, table: &Table, visit: &mut dyn FnMut(Copied)) -> Result<(), Error> {
    let mut after: Option<String> = None;
    loop {
        let scan = Scan { after: after.as_deref(), limit: PAGE, foreign: None, tags: None, now: rules.now };
        let rows = rules.rows.scan(table, &scan)?;
        let is_last = rows.len() < PAGE;
        for row in rows {
            let (key, expires) = (key_of(table, &row.value)?.to_owned(), row.expires);
            let value = rules.shown(table, row);
            after = Some(key.clone());
            visit(Copied { entity: table.name.clone(), key, value, expires });
        }
        if is_last {
            return Ok(());
        }
    }
}

impl Store for Postgres {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn is_reachable(&self) -> bool {
        let asked =
            self.main.begin(false).and_then(|transaction| transaction.query("SELECT 1", &[]).map(|_| transaction));
        asked.is_ok_and(|transaction| transaction.commit().is_ok())
    }

    fn was_reachable(&self) -> bool {
        !self.is_away.load(Ordering::Relaxed)
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Reader)) -> Result<(), Error> {
        let transaction = self.replica.as_ref().unwrap_or(&self.main).begin(false)?;
        let sql = self.sql(&transaction)?;
        work(&self.rules(&transaction, &sql));
        transaction.roll_back();
        Ok(())
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn Writer) -> bool) -> Result<(), Error> {
        self.transact(&mut |rules| work(rules))
    }

    fn replace(&self, rows: Vec<Change>) -> Result<(), Error> {
        let transaction = self.main.begin(true)?;
        let sql = self.sql(&transaction)?;
        let mut rules = self.rules(&transaction, &sql);
        rules.now = f64::NEG_INFINITY;
        // Workspaces are not of this configuration: every row lies in one.
        let tables = || self.layout.tables().iter().filter(|table| table.name != "workspaces");
        let mut changes = Vec::new();
        for table in tables().rev() {
            let mut old = Vec::new();
            each_row(&rules, table, &mut |row| old.push(row))?;
            for Copied { key, value, expires, .. } in old {
                rules.rows.remove(table, &key, &Row { value: normal(table, value), expires })?;
                let id = Uuid::parse_str(&key).ok();
                changes.extend(id.map(|id| Change { entity: table.name.clone(), id, value: None }));
            }
        }
        for table in tables() {
            for row in rows.iter().filter(|row| row.entity == table.name) {
                let Some(value) = &row.value else { continue };
                let value = normal(table, value.clone());
                let key = key_of(table, &value)?.to_owned();
                rules.rows.put(table, &key, Row { value, expires: None }, None)?;
            }
        }
        changes.extend(rows.iter().cloned());
        let PgRows { events, .. } = rules.rows;
        let events = events::of_changes(&changes).into_iter().chain(events).collect();
        let _gate = self.gate();
        self.announce(transaction, events)?;
        if let Some(copy) = &self.copy {
            copy.apply(&changes, (self.clock)());
        }
        self.followers.replaced(&rows);
        Ok(())
    }

    fn purge(&self) -> Result<usize, Error> {
        self.main.close_idle();
        self.replica.iter().for_each(Pool::close_idle);
        let purged = self.clean();
        let over = self.ends().over((self.clock)(), PAGE);
        if !over.is_empty() {
            self.let_go(over);
        }
        purged
    }

    fn count(&self, counts: &[Count<'_>]) -> Result<Vec<u64>, Error> {
        let transaction = self.main.begin(true)?;
        let totals = counts::add(&transaction, counts)?;
        transaction.commit()?;
        Ok(totals)
    }

    fn follow(&self, follower: Arc<dyn Follower>) {
        self.followers.add(follower);
    }
}

/// Statements of tests, around the store.
#[cfg(test)]
pub(crate) mod for_tests {
    use super::{Arc, Error, Pool, Postgres, Server, Sockets};

    pub(crate) fn run_on(server: &Server, statements: &str) {
        let pool = Pool::new(server, Arc::new(Sockets::start().unwrap())).unwrap();
        let link = pool.connect(None).unwrap();
        pool.run(&link, statements).unwrap();
    }

    /// The first column of the answer.
    pub(crate) fn ask(store: &Postgres, question: &str) -> Vec<String> {
        try_ask(store, question).unwrap()
    }

    pub(crate) fn try_ask(store: &Postgres, question: &str) -> Result<Vec<String>, Error> {
        let rows = store.main.begin(false)?.query(question, &[])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
