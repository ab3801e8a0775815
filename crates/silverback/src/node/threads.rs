//! The threads of a worker: each with its own runtime, listeners and connections; and one for all that is not traffic.

use super::admin_service::AdminService;
use super::certificates::ServerTls;
use super::facts::Facts;
use super::rest::Rest;
use super::status_service::StatusService;
use crate::supervisor::{Inherited, ListenerKind};
use anyhow::Context as _;
use proxy::{AccessLog, Listener, Listening, ListeningSocket, Proxy, Service, Thread};
use std::cell::RefCell;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::watch;

/// What all threads are made from.
pub(super) struct Plan {
    pub(super) proxy: Arc<Proxy>,
    pub(super) tls: ServerTls,
    pub(super) access_log: super::settings::LogPlan,
    pub(super) admin_log: super::settings::LogPlan,
    pub(super) status_log: super::settings::LogPlan,
    pub(super) api: Arc<admin::Api>,
    pub(super) facts: Arc<Facts>,
    pub(super) store: Arc<dyn Store>,
}

/// What threads are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Run,
    /// Accept nothing any more.
    Drain,
    Stop,
}

/// A socket that a thread accepts from.
struct Socket {
    kind: ListenerKind,
    socket: OwnedFd,
    in_file_system: bool,
    tls: bool,
    http2: bool,
    proxy_protocol: bool,
}

/// The running threads.
pub(super) struct Threads {
    phase: watch::Sender<Phase>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(
        plan: Arc<Plan>,
        data: Vec<Inherited>,
        control: Vec<Inherited>,
        threads: usize,
    ) -> anyhow::Result<Self> {
        let (phase, seen) = watch::channel(Phase::Run);
        // `http2` on any listener of a server holds for all of them, as in nginx.
        let http2 = data.iter().any(|l| l.listen.http2);
        let mut sockets: Vec<Vec<Socket>> = (0..threads).map(|_| Vec::new()).collect();
        for listener in data {
            let at = listener.thread % threads.max(1);
            sockets[at].push(Socket::new(listener, http2));
        }
        let mut handles = Vec::new();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let (plan, seen) = (plan.clone(), seen.clone());
            let name = format!("worker-{index}");
            let sockets = RefCell::new(sockets);
            let body = move || forever(&seen.clone(), || run_data(&plan, index, &sockets, seen.clone()));
            handles.push(std::thread::Builder::new().name(name).spawn(body).context("a thread cannot be started")?);
        }
        let control: Vec<Socket> = control
            .into_iter()
            .map(|l| {
                let http2 = l.listen.http2;
                Socket::new(l, http2)
            })
            .collect();
        let control = RefCell::new(control);
        let body = move || forever(&seen.clone(), || run_control(&plan, &control, seen.clone()));
        handles.push(
            std::thread::Builder::new().name("control".into()).spawn(body).context("a thread cannot be started")?,
        );
        Ok(Self { phase, handles })
    }

    pub(super) fn stop_accepting(&self) {
        self.phase.send_replace(Phase::Drain);
    }

    pub(super) fn stop(self) {
        self.phase.send_replace(Phase::Stop);
        for handle in self.handles {
            let _ = handle.join();
        }
    }
}

impl Socket {
    fn new(from: Inherited, http2: bool) -> Self {
        Self {
            kind: from.kind,
            socket: from.socket,
            in_file_system: from.listen.path.is_some(),
            tls: from.listen.ssl,
            http2,
            proxy_protocol: from.listen.proxy_protocol,
        }
    }

    fn listener(&self, plan: &Plan) -> std::io::Result<Listener> {
        Ok(Listener {
            socket: match self.socket.try_clone()? {
                socket if self.in_file_system => ListeningSocket::Unix(socket.into()),
                socket => ListeningSocket::Tcp(socket.into()),
            },
            tls: self.tls.then(|| plan.tls.of(self.kind).clone()),
            http2: self.http2,
            proxy_protocol: self.proxy_protocol,
        })
    }
}

/// Runs a thread's work again where it panicked: a broken thread is replaced by a fresh one on the same sockets.
fn forever(phase: &watch::Receiver<Phase>, work: impl Fn() -> anyhow::Result<()>) {
    loop {
        match catch_unwind(AssertUnwindSafe(&work)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => log::error!(target: "crit", "a thread ended: {error:#}"),
            Err(_) => log::error!(target: "crit", "a thread panicked and is started anew"),
        }
        if *phase.borrow() != Phase::Run {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn on_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(256)
        .build_local(tokio::runtime::LocalOptions::default())
        .context("a runtime cannot be started")?;
    runtime.block_on(work)
}

fn run_data(
    plan: &Arc<Plan>,
    index: usize,
    sockets: &RefCell<Vec<Socket>>,
    seen: watch::Receiver<Phase>,
) -> anyhow::Result<()> {
    on_runtime(async {
        let thread = Thread::new(plan.proxy.clone(), index, open(&plan.access_log)?);
        let mut accepting = Vec::new();
        for socket in &*sockets.borrow() {
            accepting.push(thread.listen(socket.listener(plan)?)?);
        }
        tokio::task::spawn_local(thread.clone().tend());
        until_stop(seen, accepting, sockets).await;
        Ok(())
    })
}

/// DNS, health of targets, expiry, the Admin API and the status pages.
fn run_control(plan: &Arc<Plan>, sockets: &RefCell<Vec<Socket>>, seen: watch::Receiver<Phase>) -> anyhow::Result<()> {
    on_runtime(async {
        // Not one of the data plane's threads: its connections are not counted with theirs.
        let admin = Thread::new(plan.proxy.clone(), usize::MAX, open(&plan.admin_log)?);
        let status = Thread::new(plan.proxy.clone(), usize::MAX, open(&plan.status_log)?);
        let admin_service: Rc<dyn Service> =
            Rc::new(AdminService::new(plan.api.clone(), plan.proxy.clone(), admin.clone()));
        let status_service: Rc<dyn Service> =
            Rc::new(StatusService::new(plan.api.clone(), plan.facts.clone(), status.clone()));
        let mut accepting = Vec::new();
        for socket in &*sockets.borrow() {
            let listener = socket.listener(plan)?;
            match socket.kind {
                ListenerKind::Admin => accepting.push(admin.listen_for(listener, admin_service.clone())?),
                ListenerKind::Status => accepting.push(status.listen_for(listener, status_service.clone())?),
                ListenerKind::Proxy => {}
            }
        }
        tokio::task::spawn_local(admin.tend());
        tokio::task::spawn_local(status.tend());
        tokio::task::spawn_local(plan.proxy.upstreams.dns().clone().run());
        tokio::task::spawn_local(plan.proxy.upstreams.clone().keep());
        tokio::task::spawn_local(plan.proxy.upstreams.clone().check());
        tokio::task::spawn_local(purge(plan.store.clone(), plan.proxy.clone()));
        until_stop(seen, accepting, sockets).await;
        Ok(())
    })
}

fn open(plan: &super::settings::LogPlan) -> anyhow::Result<Option<AccessLog>> {
    plan.open()
}

/// Serves until the end. From the order to drain on, the sockets are closed: where nobody else holds them (another worker
/// does, after a reload), who connects is refused instead of waiting for nobody.
async fn until_stop(mut seen: watch::Receiver<Phase>, accepting: Vec<Listening>, sockets: &RefCell<Vec<Socket>>) {
    loop {
        if *seen.borrow_and_update() != Phase::Run {
            accepting.iter().for_each(Listening::close);
            sockets.borrow_mut().clear();
        }
        if *seen.borrow() == Phase::Stop || seen.changed().await.is_err() {
            return;
        }
    }
}

/// Deletes what has expired (`ttl`), and frees snapshots of the past: what changes have left behind is given back to the system
/// once they have come to rest.
async fn purge(store: Arc<dyn Store>, proxy: Arc<Proxy>) {
    let mut rest = Rest::new(proxy.snapshots.version());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (store, proxy) = (store.clone(), proxy.clone());
        let now = proxy.snapshots.version();
        let is_due = rest.is_due(now);
        let purged = tokio::task::spawn_blocking(move || {
            let purged = store.purge();
            let left = proxy.snapshots.sweep();
            let gives_back = is_due && left == 0;
            if gives_back {
                store.rest();
                footprint::give_back_freed();
            }
            (gives_back, purged)
        });
        let Ok((gave_back, purged)) = purged.await else { continue };
        if gave_back {
            rest.is_over(now);
        }
        if let Err(error) = purged {
            log::error!("expired rows cannot be deleted: {error}");
        }
    }
}
