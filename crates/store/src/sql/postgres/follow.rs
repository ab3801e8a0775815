//! Hearing of what others commit: woken by a notification (our own nodes), or looking every few seconds (Kong's), the node reads
//! which rows have changed from `cluster_events`, and then those rows.
use super::events::{self, Wanted};
use super::pool::{Link, Listening, Pool, Sockets, quoted, text};
use super::{Loaded, PAGE, Postgres};
use crate::{Change, Error, HealthMark};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio_postgres::types::Type;
use uuid::Uuid;

/// Finds rows that a node holds and the database may no longer have: Kong's events name credentials by what is in them.
pub trait Held: Send + Sync {
    /// The ids of the entity's rows with this text in a field; for a foreign field, with this id.
    fn ids(&self, entity: &str, field: &str, value: &str) -> Vec<Uuid>;
    /// Another node has marked a target by hand.
    fn marked(&self, _mark: &HealthMark) {}
}

/// Events are read again for so long after they were: one may be committed after a later one.
const OVERLAP: f64 = 5.0;
/// Events are kept for an hour; whoever was away for nearly that long reads everything anew.
const LONGEST_GAP: f64 = 3000.0;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a notification to oneself may take.
const ECHO: Duration = Duration::from_secs(2);

/// The thread that follows the database; it ends with the value.
pub struct Watch {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// What wakes the thread.
#[derive(Default)]
pub(super) struct Signal {
    is_over: AtomicBool,
    must_notify: AtomicBool,
    notify: Notify,
}

impl Signal {
    /// Something was committed that other nodes must be told of.
    pub(super) fn must_notify(&self) {
        self.must_notify.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }
}

/// Why the thread goes on.
enum Woken {
    /// Something may have changed.
    ByOthers,
    /// This node has changed something, or the watch is over.
    ByOneself,
    ConnectionLost,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.signal.is_over.store(true, Ordering::SeqCst);
        self.signal.notify.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its hook.
            let _ = thread.join();
        }
    }
}

struct Follow {
    store: Arc<Postgres>,
    held: Arc<dyn Held>,
    /// To the server that notifies.
    server: Pool,
    signal: Arc<Signal>,
    /// What is known may be out of date by more than the events tell.
    must_reload: bool,
    /// Events that were handled, with their times.
    seen: HashMap<Uuid, f64>,
    has_echo: Option<bool>,
}

impl Postgres {
    /// Follows the database from what was loaded on.
    pub fn watch(self: &Arc<Self>, held: Arc<dyn Held>, loaded: Loaded) -> Result<Watch, Error> {
        let signal = Arc::new(Signal::default());
        let follow = Follow {
            store: Arc::clone(self),
            held,
            server: Pool::new(&self.settings.notifications, Arc::new(Sockets::start()?))?,
            signal: Arc::clone(&signal),
            must_reload: loaded == Loaded::Disk,
            seen: HashMap::new(),
            has_echo: None,
        };
        let thread = std::thread::Builder::new().name("changes".to_owned()).spawn(move || follow.run());
        *self.notifier.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&signal));
        let thread = thread.map_err(|error| Error::database(&format!("no thread to follow PostgreSQL: {error}")))?;
        Ok(Watch { signal, thread: Some(thread) })
    }

    /// Reads rows that others have changed, and tells the followers what became of them.
    pub(super) fn refresh(&self, wanted: &BTreeSet<Wanted>, held: Option<&dyn Held>) -> Result<(), Error> {
        let mut order = self.gate();
        let turn = self.next_turn();
        let changes = self.read_anew(wanted, held)?;
        order.told(changes.iter().map(|change| ((change.entity.clone(), change.id), turn)));
        self.tell(&changes);
        Ok(())
    }

    /// What became of rows. Within the gate.
    pub(super) fn read_anew(&self, wanted: &BTreeSet<Wanted>, held: Option<&dyn Held>) -> Result<Vec<Change>, Error> {
        let transaction = self.main.begin(false)?;
        let sql = self.sql(&transaction)?;
        let rules = self.rules(&transaction, &sql);
        let mut keys: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for wanted in wanted {
            match wanted {
                Wanted::Row { entity, id } => {
                    keys.entry(entity).or_default().insert(*id);
                }
                Wanted::With { entity, field, value } => {
                    let Some(table) = self.layout.table(entity) else { continue };
                    let found = rules.rows.keys_with(table, field, value)?;
                    let keys = keys.entry(entity).or_default();
                    keys.extend(found.iter().filter_map(|key| Uuid::parse_str(key).ok()));
                    keys.extend(held.into_iter().flat_map(|held| held.ids(entity, field, value)));
                }
            }
        }
        let mut changes = Vec::new();
        for (entity, keys) in keys {
            let Some(table) = self.layout.table(entity).filter(|table| table.has_uuid) else { continue };
            let keys: Vec<Uuid> = keys.into_iter().collect();
            for keys in keys.chunks(PAGE) {
                let texts: Vec<String> = keys.iter().map(Uuid::to_string).collect();
                let mut rows: HashMap<Uuid, Value> = HashMap::new();
                for row in rules.rows.by_keys(table, &texts)? {
                    let id = crate::rules::key_of(table, &row.value).ok().and_then(|key| Uuid::parse_str(key).ok());
                    if let (Some(id), false) = (id, row.is_expired(rules.now)) {
                        rows.insert(id, rules.shown(table, row));
                    }
                }
                let change = |id: &Uuid| Change { entity: entity.to_owned(), id: *id, value: rows.remove(id) };
                changes.extend(keys.iter().map(change));
            }
        }
        let now = rules.now;
        let ends = rules.rows.ends.into_inner();
        transaction.roll_back();
        self.ends().learn(ends.into_iter().filter(|(_, _, at)| at.is_none_or(|at| at > now)).collect());
        Ok(changes)
    }

    /// Rows of which this node knows that their time has come: looked up once more, or taken away while nobody can be asked.
    pub(super) fn let_go(&self, over: Vec<(String, String)>) {
        let row = |(entity, key): (String, String)| Some(Wanted::Row { entity, id: Uuid::parse_str(&key).ok()? });
        let wanted: BTreeSet<Wanted> = over.into_iter().filter_map(row).collect();
        if let Err(error) = self.refresh(&wanted, None) {
            log::warn!("{error}: rows whose time has come are taken away without asking");
            let gone = wanted.into_iter().filter_map(|wanted| match wanted {
                Wanted::Row { entity, id } => Some(Change { entity, id, value: None }),
                Wanted::With { .. } => None,
            });
            let gone: Vec<Change> = gone.collect();
            let _gate = self.gate();
            self.tell(&gone);
        }
    }

    /// Reads everything anew.
    fn reload(&self) -> Result<(), Error> {
        let _gate = self.gate();
        let mut rows = Vec::new();
        self.load_from_database(&mut |entity, value| {
            let id = value.get("id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
            rows.extend(id.map(|id| Change { entity: entity.to_owned(), id, value: Some(value) }));
        })?;
        self.followers.replaced(&rows);
        Ok(())
    }
}

impl Follow {
    fn run(mut self) {
        let mut pause = Duration::from_millis(50);
        let mut is_away = self.must_reload;
        self.store.is_away.store(is_away, Ordering::Relaxed);
        while !self.is_over() {
            let ended = self.session(&mut is_away, &mut pause);
            if self.is_over() {
                return;
            }
            if let Err(error) = ended {
                if !is_away {
                    log::error!("{error}: serving what is known until the database is back");
                    is_away = true;
                    self.store.is_away.store(true, Ordering::Relaxed);
                }
                let signal = Arc::clone(&self.signal);
                let over = async { tokio::time::timeout(pause, signal.notify.notified()).await };
                drop(self.server.rest(over));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.signal.is_over.load(Ordering::SeqCst)
    }

    /// Follows over one connection until it is lost.
    fn session(&mut self, is_away: &mut bool, pause: &mut Duration) -> Result<(), Error> {
        let (wakes, mut woken) = mpsc::channel(1);
        let but_from = self.store.node.to_string();
        let link = self.server.connect(Some(Listening { wakes, but_from }))?;
        self.server.run(&link, &format!("LISTEN {}", events::OWN))?;
        if self.has_echo.is_none() {
            self.listen_to_oneself(&link, &mut woken)?;
        }
        loop {
            if self.must_reload {
                self.store.reload()?;
                self.must_reload = false;
            } else {
                self.catch_up(&link)?;
            }
            *pause = Duration::from_millis(50);
            if std::mem::take(is_away) {
                self.store.is_away.store(false, Ordering::Relaxed);
                log::warn!("the database is back");
            }
            let look = Instant::now() + self.store.settings.poll;
            loop {
                // Also what was committed while the connection was lost.
                if self.signal.must_notify.swap(false, Ordering::SeqCst) {
                    self.server.run(&link, &format!("NOTIFY {}, '{}'", events::OWN, self.store.node))?;
                }
                match self.wait(&mut woken, look) {
                    _ if self.is_over() => return Ok(()),
                    Woken::ByOthers => break,
                    Woken::ByOneself => {}
                    Woken::ConnectionLost => return Err(Error::unavailable("the connection to PostgreSQL was lost")),
                }
            }
        }
    }

    fn wait(&self, woken: &mut mpsc::Receiver<()>, look: Instant) -> Woken {
        let limit = look.saturating_duration_since(Instant::now());
        self.server.rest(async {
            tokio::select! {
                woken = woken.recv() => if woken.is_some() { Woken::ByOthers } else { Woken::ConnectionLost },
                () = self.signal.notify.notified() => Woken::ByOneself,
                () = tokio::time::sleep(limit) => Woken::ByOthers,
            }
        })
    }

    /// Says so, once, where notifications do not arrive.
    fn listen_to_oneself(&mut self, link: &Link, woken: &mut mpsc::Receiver<()>) -> Result<(), Error> {
        self.server.run(link, &format!("NOTIFY {}, 'does this arrive?'", events::OWN))?;
        let arrived = self.server.rest(async { tokio::time::timeout(ECHO, woken.recv()).await });
        let has_echo = arrived.is_ok_and(|woken| woken.is_some());
        self.has_echo = Some(has_echo);
        if !has_echo {
            let (server, poll) = (self.server.server(), self.store.settings.poll);
            log::warn!(
                "notifications do not arrive from {server}, perhaps a pooler in transaction mode: changes by other nodes are \
                 seen within {poll:?}; pg_notify_host names the server itself"
            );
        }
        Ok(())
    }

    /// Reads the events that came since the last time, and the rows they are about.
    fn catch_up(&mut self, link: &Link) -> Result<(), Error> {
        let position = *self.store.position.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(position) = position else {
            self.must_reload = true;
            return self.store.reload().inspect(|()| self.must_reload = false);
        };
        let within = self.server.server().schema.as_ref().map(|schema| format!("{}.", quoted(schema)));
        let statement = format!(
            "SELECT NULL, NULL, NULL, extract(epoch from clock_timestamp())::double precision
             UNION ALL
             (SELECT id::text, channel, data, extract(epoch from at)::double precision FROM {}cluster_events
              WHERE at > to_timestamp($1) AND channel = ANY($2) AND node_id <> $3::uuid ORDER BY at)",
            within.unwrap_or_default()
        );
        let (since, node) = (position - OVERLAP, self.store.node.to_string());
        let channels: &[&str] = &events::CHANNELS;
        let values = [(&since as _, Type::FLOAT8), (&channels as _, Type::TEXT_ARRAY), text(&node)];
        let rows = self.server.ask(link, &statement, &values)?;
        let Some(now) = rows.first().and_then(|row| row.get::<_, Option<f64>>(3)) else { return Ok(()) };
        if now - position > LONGEST_GAP {
            return self.store.reload();
        }
        let (mut wanted, mut fresh, mut marks) = (BTreeSet::new(), Vec::new(), Vec::new());
        for row in rows.iter().skip(1) {
            let id = row.get::<_, Option<&str>>(0).and_then(|id| Uuid::parse_str(id).ok());
            let Some(id) = id.filter(|id| !self.seen.contains_key(id)) else { continue };
            fresh.push((id, row.get::<_, Option<f64>>(3).unwrap_or(now)));
            let channel: &str = row.get::<_, Option<&str>>(1).unwrap_or_default();
            if channel == events::MARKS {
                marks.extend(HealthMark::parse(row.get::<_, Option<&str>>(2).unwrap_or_default()));
            } else if channel == events::OWN || !events::is_own_id(&id) {
                wanted.extend(events::read(
                    &self.store.layout,
                    channel,
                    row.get::<_, Option<&str>>(2).unwrap_or_default(),
                ));
            }
        }
        if !wanted.is_empty() {
            self.store.refresh(&wanted, Some(&*self.held))?;
        }
        // After the rows: a target may have been made just before it was marked.
        marks.iter().for_each(|mark| self.held.marked(mark));
        self.seen.retain(|_, at| *at > now - 2.0 * OVERLAP);
        self.seen.extend(fresh);
        *self.store.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }
}
