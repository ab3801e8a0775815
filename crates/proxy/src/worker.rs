//! A worker thread: its view of the current snapshot, its upstream connections, its log buffer.

use crate::access_log::AccessLog;
use crate::http::connection::Connection;
use crate::http::{Downstream, Refusal, Service};
use crate::phases::log::write_access_log;
use crate::pipeline;
use crate::settings::Settings;
use crate::slots::Slots;
use crate::snapshot::{Snapshot, SnapshotHandle};
use crate::stats::{Stats, ThreadStats};
use crate::upstream::Upstreams;
use crate::upstream::pool::Pool;
use ahash::HashMap;
use pdk::{Client, Clock, Context, Request, Shared, Storage};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// What all threads of a worker process share.
pub struct Proxy {
    pub settings: Arc<Settings>,
    pub snapshots: Arc<SnapshotHandle>,
    pub upstreams: Arc<Upstreams>,
    pub stats: Stats,
    storage: Arc<dyn Storage>,
    draining: AtomicBool,
    connections: AtomicU64,
}

impl Proxy {
    pub fn new(
        settings: Settings,
        snapshots: Arc<SnapshotHandle>,
        upstreams: Arc<Upstreams>,
        storage: Arc<dyn Storage>,
        threads: usize,
    ) -> Self {
        Self {
            settings: Arc::new(settings),
            snapshots,
            upstreams,
            stats: Stats::new(threads),
            storage,
            draining: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        }
    }

    /// From now on, each connection ends with its current or next answer.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A snapshot and what goes with it, as one thread holds it.
pub(crate) struct Pinned {
    /// Goes first: what it shares with the snapshot is freed with that, on another thread.
    pub(crate) shared: Rc<Shared>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// One thread of the data plane.
pub struct Thread {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) stats: Arc<ThreadStats>,
    pub(crate) access_log: RefCell<Option<AccessLog>>,
    version: Cell<u64>,
    pinned: RefCell<Rc<Pinned>>,
    /// A moment on both clocks, a second old at most.
    moment: Cell<(Instant, Duration)>,
    /// The HTTP/1 connections of clients, by number.
    connections: RefCell<HashMap<u64, Weak<Connection>>>,
    /// Told that connections without a request are to end.
    pub(crate) gone: Notify,
}

/// Keeps a connection in its thread's list.
pub(crate) struct Listed {
    thread: Rc<Thread>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.thread.connections.borrow_mut().remove(&self.number);
    }
}

impl Thread {
    pub fn new(proxy: Arc<Proxy>, index: usize, access_log: Option<AccessLog>) -> Rc<Self> {
        let stats = proxy.stats.thread(index);
        let pool = Rc::new(Pool::new(proxy.settings.pool));
        let version = proxy.snapshots.version();
        let pinned = RefCell::new(pinned(&proxy));
        Rc::new(Self {
            proxy,
            pool,
            stats,
            access_log: RefCell::new(access_log),
            version: Cell::new(version),
            pinned,
            moment: Cell::new(moment()),
            connections: RefCell::default(),
            gone: Notify::new(),
        })
    }

    /// Lists a client's connection, so that it ends when the thread drains and nothing comes on it.
    pub(crate) fn list(self: &Rc<Self>, number: u64, conn: &Rc<Connection>) -> Listed {
        self.connections.borrow_mut().insert(number, Rc::downgrade(conn));
        Listed { thread: self.clone(), number }
    }

    /// The current snapshot, for one request from start to end.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        let version = self.proxy.snapshots.version();
        if version != self.version.get() {
            *self.pinned.borrow_mut() = pinned(&self.proxy);
            self.version.set(version);
        }
        self.pinned.borrow().clone()
    }

    /// A moment after the epoch, without a look at the wall clock.
    pub(crate) fn wall_time(&self, at: Instant) -> Duration {
        let (known, wall) = self.moment.get();
        match at.checked_duration_since(known) {
            Some(later) => wall + later,
            None => wall.saturating_sub(known.duration_since(at)),
        }
    }

    /// The request's surroundings.
    pub(crate) fn context(&self, pinned: &Pinned, request: Request, client: Client) -> Context<'static> {
        let now = Instant::now();
        Context::new(request, client, pinned.shared.clone(), fastrand::u128(..), (now, self.wall_time(now)))
    }

    /// Busy connections end with their next answer, which says so; for quiet ones that may never come. Who has been quiet from
    /// one look to the next is let go.
    fn end_quiet(&self, looks: &mut u64) {
        self.connections.borrow().values().filter_map(Weak::upgrade).for_each(|conn| conn.end_if_quiet());
        if *looks > 0 {
            self.gone.notify_waiters();
        }
        *looks += 1;
    }

    /// Logs what a service of the caller's has answered.
    pub fn log(&self, request: Request, client: Client, begin: Instant, status: u16, body_sent: u64) {
        if self.access_log.borrow().is_none() {
            return;
        }
        let shared = self.pin().shared.clone();
        let mut cx = Context::new(request, client, shared, fastrand::u128(..), (begin, self.wall_time(begin)));
        cx.response.status = status;
        write_access_log(self, &cx, body_sent);
    }

    /// Regular work: idle upstream connections, the log's buffer. Runs for the life of the thread.
    pub async fn tend(self: Rc<Self>) {
        let (mut ticks, mut looks) = (0_u64, 0_u64);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticks += 1;
            self.moment.set(moment());
            if let Some(log) = &mut *self.access_log.borrow_mut() {
                log.flush();
            }
            if ticks.is_multiple_of(5) {
                self.pool.sweep();
            }
            if self.proxy.is_draining() {
                self.end_quiet(&mut looks);
            }
            // A thread without requests would otherwise hold an old snapshot for ever.
            self.pin();
        }
    }
}

fn moment() -> (Instant, Duration) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn pinned(proxy: &Proxy) -> Rc<Pinned> {
    let snapshot = proxy.snapshots.load();
    let shared = Rc::new(Shared {
        consumers: snapshot.consumers.clone(),
        error_default: proxy.settings.error_default,
        error_templates: proxy.settings.error_templates.clone(),
        node: proxy.settings.node.clone(),
        clock: Clock::default(),
        storage: proxy.storage.clone(),
        upstreams: snapshot.upstreams.clone(),
    });
    Rc::new(Pinned { snapshot, shared })
}

/// The proxy as its connections see it.
pub(crate) fn proxy_service(thread: Rc<Thread>) -> Rc<dyn Service> {
    Rc::new(ProxyService { thread, handle: pipeline::handle, slots: Slots::new() })
}

/// `H` is `pipeline::handle`: its future has no name of its own.
struct ProxyService<H, F> {
    thread: Rc<Thread>,
    handle: H,
    slots: Rc<Slots<F>>,
}

impl<H, F> Service for ProxyService<H, F>
where
    H: Fn(Rc<Thread>, Request, Client, Downstream) -> F,
    F: Future<Output = ()> + 'static,
{
    fn call(&self, request: Request, client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(self.slots.hold(|| (self.handle)(self.thread.clone(), request, client, to)))
    }

    fn refuse(
        &self,
        request: Request,
        client: Client,
        refusal: Refusal,
        to: Downstream,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(pipeline::refuse(self.thread.clone(), request, client, refusal, to))
    }

    fn is_draining(&self) -> bool {
        self.thread.proxy.is_draining()
    }
}
