//! A worker thread: its view of the current snapshot, its upstream connections, its log buffer.

use crate::access_log::AccessLog;
use crate::http::{Downstream, Service};
use crate::pipeline;
use crate::settings::Settings;
use crate::snapshot::{Snapshot, SnapshotHandle};
use crate::stats::{Stats, ThreadStats};
use crate::upstream::Upstreams;
use crate::upstream::pool::Pool;
use pdk::{Client, Clock, Context, Request, Response, Shared, Storage};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) shared: Rc<Shared>,
}

/// One thread of the data plane.
pub struct Thread {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) stats: Arc<ThreadStats>,
    pub(crate) access_log: RefCell<Option<AccessLog>>,
    version: Cell<u64>,
    pinned: RefCell<Rc<Pinned>>,
}

impl Thread {
    pub fn new(proxy: Arc<Proxy>, index: usize, access_log: Option<AccessLog>) -> Rc<Self> {
        let stats = proxy.stats.thread(index);
        let pool = Rc::new(Pool::new(proxy.settings.pool));
        let version = proxy.snapshots.version();
        let pinned = RefCell::new(pinned(&proxy));
        Rc::new(Self { proxy, pool, stats, access_log: RefCell::new(access_log), version: Cell::new(version), pinned })
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

    /// The request's surroundings.
    pub(crate) fn context(&self, pinned: &Pinned, request: Request, client: Client) -> Context {
        Context::new(request, client, pinned.shared.clone(), fastrand::u128(..), Instant::now())
    }

    /// Regular work: idle upstream connections, the log's buffer. Runs for the life of the thread.
    pub async fn tend(self: Rc<Self>) {
        let mut ticks = 0_u64;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticks += 1;
            if let Some(log) = &mut *self.access_log.borrow_mut() {
                log.flush();
            }
            if ticks.is_multiple_of(5) {
                self.pool.sweep();
            }
            // A thread without requests would otherwise hold an old snapshot for ever.
            self.pin();
        }
    }
}

fn pinned(proxy: &Proxy) -> Rc<Pinned> {
    let snapshot = proxy.snapshots.load();
    let shared = Rc::new(Shared {
        consumers: snapshot.consumers.clone(),
        error_default: proxy.settings.error_default,
        error_templates: proxy.settings.error_templates.clone(),
        node: proxy.settings.node.clone(),
        clock: Clock::default(),
        storage: proxy.storage.clone(),
    });
    Rc::new(Pinned { snapshot, shared })
}

/// The proxy as a connection sees it.
pub(crate) struct ProxyService(pub(crate) Rc<Thread>);

impl Service for ProxyService {
    fn call(&self, request: Request, client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(pipeline::handle(self.0.clone(), request, client, to))
    }

    fn refuse(&self, client: Client, status: u16, message: &'static str) -> Response {
        pipeline::refuse(&self.0, client, status, message)
    }

    fn is_draining(&self) -> bool {
        self.0.proxy.is_draining()
    }
}
