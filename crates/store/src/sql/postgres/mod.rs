//! `database = postgres`: Kong's own tables, shared with other nodes of ours and, if need be, with Kong's.
mod columns;
mod copy;
mod counts;
mod ends;
mod events;
mod follow;
mod migrations;
mod order;
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
use crate::{Change, Clock, Count, Error, Follower, HealthMark, Layout, Reader, Store, Table, Writer};
use columns::SqlLayout;
use copy::{Copied, Copy};
use ends::Ends;
use events::{Event, Wanted};
use follow::Signal;
use order::{Began, Order, Turns};
use pool::{Pool, Sockets, Transaction};
use rows::PgRows;
use schema::EntitySchema;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Held while followers are told: of this node's commits, and from reading what others committed on.
    gate: Mutex<Order>,
    followers: Followers,
    ends: Mutex<Ends>,
    cleaned: Mutex<Option<Instant>>,
    copy: Option<Copy>,
    /// The database's time up to which events have been read.
    position: Mutex<Option<f64>>,
    /// Whether the database could not be reached when it was last tried.
    is_away: AtomicBool,
    /// The number of the next write of a row.
    turn: AtomicU64,
    /// Whom to wake to notify other nodes, where somebody follows the database.
    notifier: Mutex<Option<Arc<Signal>>>,
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
            turn: AtomicU64::new(1),
            notifier: Mutex::default(),
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
        Rules::new(PgRows::new(transaction, &self.layout, sql, &self.turn), &self.layout, (self.clock)())
    }

    fn gate(&self) -> MutexGuard<'_, Order> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells other nodes, and commits: in one round trip, unless there is much to tell.
    fn announce(&self, transaction: Transaction<'_>, events: Vec<Event>) -> Result<(), Error> {
        let events = events::distinct(events);
        let is_short = events.len() <= TOLD_AT_ONCE;
        for events in events.chunks(TOLD_AT_ONCE).take(if is_short { 0 } else { usize::MAX }) {
            transaction.batch(&events::insertion(events, self.node))?;
        }
        let mut last = if is_short { events::insertion(&events, self.node) } else { String::new() };
        let notifier = self.notifier.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match notifier {
            // A transaction that notifies holds a lock of the whole server while it is flushed to the disk: commits would
            // follow each other, on all nodes. So the notification follows the commit, and stands for all that are done by then.
            Some(notifier) => {
                transaction.commit_after(&last)?;
                notifier.must_notify();
            }
            None => {
                last += &format!("SELECT pg_notify('{}', '{}')", events::OWN, self.node);
                transaction.commit_after(&last)?;
            }
        }
        Ok(())
    }

    /// Within the gate. `turns`: when this node wrote the rows; a row that was told of since is read anew, as nobody knows here
    /// which of the two the database took last.
    fn publish(&self, order: &mut Order, mut changes: Vec<Change>, turns: &Turns) {
        let doubtful: BTreeSet<Wanted> = order.doubtful(turns).map(|(entity, id)| Wanted::Row { entity, id }).collect();
        order.told(turns.iter().map(|(place, turn)| (place.clone(), *turn)));
        if !doubtful.is_empty() {
            let is_sure =
                |change: &Change| !doubtful.contains(&Wanted::Row { entity: change.entity.clone(), id: change.id });
            changes.retain(is_sure);
            let turn = self.next_turn();
            match self.read_anew(&doubtful, None) {
                Ok(read) => {
                    order.told(read.iter().map(|change| ((change.entity.clone(), change.id), turn)));
                    changes.extend(read);
                }
                // The data plane keeps the other change, whose event names the row once more.
                Err(error) => log::warn!("{error}: a row that was changed twice is not read anew"),
            }
        }
        self.tell(&changes);
    }

    /// Within the gate.
    fn tell(&self, changes: &[Change]) {
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

    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::SeqCst)
    }

    /// Runs `work` in a transaction of the main server.
    fn transact(&self, work: &mut dyn FnMut(&mut Rules<'_, PgRows<'_>>) -> bool) -> Result<(), Error> {
        // Before a connection is taken: who holds the gate may wait for one.
        let began = Began::now(self);
        let transaction = self.main.begin(true)?;
        let sql = self.sql(&transaction)?;
        let mut rules = self.rules(&transaction, &sql);
        let keeps = work(&mut rules);
        let Rules { changes, rows: PgRows { events, ends, turns, .. }, .. } = rules;
        if !keeps {
            transaction.roll_back();
            return Ok(());
        }
        if changes.is_empty() && events.is_empty() {
            return transaction.commit();
        }
        self.ends().learn(ends.into_inner());
        self.announce(transaction, events::of_changes(&changes).into_iter().chain(events).collect())?;
        let mut order = self.gate();
        self.publish(&mut order, changes, &turns);
        drop(order);
        drop(began);
        Ok(())
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

    fn tell_mark(&self, mark: &HealthMark) -> Result<(), Error> {
        self.announce(self.main.begin(true)?, vec![Event { channel: events::MARKS, data: mark.to_text() }])
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
        // Within the gate from before the commit on: nothing else is told of in between.
        let mut order = self.gate();
        self.announce(transaction, events)?;
        let turn = self.next_turn();
        order.told(changes.iter().map(|change| ((change.entity.clone(), change.id), turn)));
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

    fn count(&self, counts: &[Count<'_>]) -> Result<Vec<i64>, Error> {
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
