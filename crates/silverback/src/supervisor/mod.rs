//! The first process of a node. It holds the listening sockets, keeps a worker process serving on them, and replaces that
//! worker on a crash, a reload or an upgrade of the program, so that no connection is dropped. It knows nothing of requests.

mod lifecycle;
pub(crate) mod pid_file;
mod signals;
mod sockets;
mod transfer;
mod upgrade;
mod user;
mod worker;
mod worker_process;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::conf::{Conf, LogTarget, Source, Values, program};
use crate::error_log::{ErrorLog, Settings, open_log};
use pid_file::{PidFile, State};
use signals::Signals;
use sockets::Sockets;
use upgrade::Handover;
use user::User;
use worker_process::{Streams, WorkerProcess};

pub use sockets::ListenerKind;
pub(crate) use worker::run as run_worker;
pub use worker::{Control, Event, Inherited, Worker, WorkerMain};
pub(crate) use worker_process::WORKER;

/// Where the command `reload` leaves its environment and options, for the next reload to use.
pub(crate) const RELOAD_FILE: &str = "pids/reload.json";
/// Beyond the time a worker was given, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// What the supervisor itself needs of a configuration; the rest is the worker's.
#[derive(Clone)]
struct Plan {
    source: Source,
    values: Values,
    sockets: Sockets,
    threads: usize,
    drain_timeout: Duration,
    log: Settings,
}

/// Why a worker is being started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Start,
    Reload,
    Upgrade,
    Crash,
}

struct Starting {
    worker: WorkerProcess,
    plan: Plan,
    reason: Reason,
}

struct Supervisor {
    prefix: PathBuf,
    program: PathBuf,
    in_background: bool,
    signals: Signals,
    log: ErrorLog,
    /// `None` only while another program takes over.
    pid_file: Option<PidFile>,
    plan: Plan,
    state: State,
    serving: Option<WorkerProcess>,
    starting: Option<Starting>,
    /// Workers that were told to go.
    leaving: Vec<WorkerProcess>,
    crashes: u32,
    restart_at: Option<Instant>,
    is_announced: bool,
    is_stopping: bool,
}

/// Runs a node until it is stopped. In the background, "ready" on standard output tells that it serves.
pub(crate) fn run(source: Source, in_background: bool) -> anyhow::Result<()> {
    if in_background {
        // Fails for a leader of a process group only, which a child of `start` is not.
        rustix::process::setsid()?;
    }
    let values = source.read()?;
    let conf = Conf::new(&values)?;
    conf.prepare_prefix()?;
    let Some(pid_file) = PidFile::take(&conf.prefix)? else {
        bail!("Silverback is already running in {}", conf.prefix.display());
    };
    conf.node_id().with_context(|| format!("could not keep the node's id in {}", conf.prefix.display()))?;
    let signals = Signals::catch()?;
    let plan = match Plan::new(source, values, &conf, &Sockets::default()) {
        Ok(plan) => plan,
        Err(error) => {
            pid_file::remove(&conf.prefix);
            return Err(error);
        }
    };
    let mut supervisor = Supervisor::new(conf.prefix.clone(), in_background, signals, pid_file, plan)?;
    for warning in conf.warnings() {
        log::warn!("{warning}");
    }
    let plan = supervisor.plan.clone();
    drop(conf);
    let result = supervisor.start_worker(plan, Reason::Start).and_then(|()| supervisor.supervise());
    pid_file::remove(&supervisor.prefix);
    result
}

/// Goes on where the program before left off.
pub(crate) fn take_over() -> anyhow::Result<()> {
    // Comes first: signals were held back for it.
    let signals = Signals::catch()?;
    let Handover { source, values, in_background, sockets, pid_file, workers, state } = upgrade::take_over()?;
    let conf = Conf::new(&values)?;
    let plan = Plan {
        source,
        values,
        sockets,
        threads: conf.threads(),
        drain_timeout: conf.drain_timeout(),
        log: log_settings(&conf),
    };
    let mut supervisor = Supervisor::new(conf.prefix.clone(), in_background, signals, pid_file, plan)?;
    supervisor.is_announced = true;
    supervisor.state = state;
    for mut worker in workers {
        worker.is_ready = true;
        if Some(worker.pid.as_raw_nonzero().get()) == supervisor.state.worker {
            supervisor.serving = Some(worker);
        } else {
            worker.deadline = Some(Instant::now() + supervisor.plan.drain_timeout + GRACE);
            supervisor.leaving.push(worker);
        }
    }
    log::warn!(target: "notice", "upgraded to Silverback {}", env!("CARGO_PKG_VERSION"));
    drop(conf);
    supervisor.change(Reason::Upgrade);
    let result = supervisor.supervise();
    pid_file::remove(&supervisor.prefix);
    result
}

fn log_settings(conf: &Conf) -> Settings {
    Settings { may_be_link: User::of(conf).is_none(), ..Settings::of(conf) }
}

impl Plan {
    fn new(source: Source, values: Values, conf: &Conf, existing: &Sockets) -> anyhow::Result<Self> {
        let threads = conf.threads();
        let sockets = Sockets::open(conf, threads, existing).map_err(|errors| {
            anyhow::Error::msg(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        Ok(Self { source, values, sockets, threads, drain_timeout: conf.drain_timeout(), log: log_settings(conf) })
    }
}

impl Supervisor {
    fn new(
        prefix: PathBuf,
        in_background: bool,
        signals: Signals,
        pid_file: PidFile,
        plan: Plan,
    ) -> anyhow::Result<Self> {
        let log = ErrorLog::direct(&plan.log)?;
        log.install()?;
        Ok(Self {
            prefix,
            program: program(),
            in_background,
            signals,
            log,
            pid_file: Some(pid_file),
            plan,
            state: State::default(),
            serving: None,
            starting: None,
            leaving: Vec::new(),
            crashes: 0,
            restart_at: None,
            is_announced: false,
            is_stopping: false,
        })
    }

    /// The loop: waits for signals, words of workers and deadlines, until the last worker is gone.
    fn supervise(&mut self) -> anyhow::Result<()> {
        loop {
            self.wait()?;
            for signal in self.signals.take() {
                self.obey(signal)?;
            }
            for worker in self.serving.iter_mut().chain(self.starting.iter_mut().map(|starting| &mut starting.worker)) {
                worker.listen();
            }
            self.follow_start()?;
            self.reap()?;
            self.meet_deadlines()?;
            if self.is_stopping && self.serving.is_none() && self.starting.is_none() && self.leaving.is_empty() {
                log::warn!(target: "notice", "stopped");
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let deadlines = self.leaving.iter().filter_map(|worker| worker.deadline).chain(self.restart_at);
        let timeout = deadlines.min().map(|next| {
            let left = next.saturating_duration_since(Instant::now()).as_millis().saturating_add(1);
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            Timespec { tv_sec: left / 1000, tv_nsec: left % 1000 * 1_000_000 }
        });
        let workers = self.serving.iter().chain(self.starting.iter().map(|starting| &starting.worker));
        let controls = workers.filter_map(|worker| worker.control.as_ref());
        let mut files = vec![PollFd::new(&self.signals, PollFlags::IN)];
        files.extend(controls.map(|control| PollFd::new(control, PollFlags::IN)));
        match poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn obey(&mut self, signal: Signal) -> anyhow::Result<()> {
        match signal {
            Signal::SIGTERM | Signal::SIGINT => self.stop(rustix::process::Signal::TERM, GRACE),
            Signal::SIGQUIT => self.stop(rustix::process::Signal::QUIT, self.plan.drain_timeout.saturating_add(GRACE)),
            Signal::SIGHUP => self.change(Reason::Reload),
            Signal::SIGUSR1 => {
                self.log.reopen();
                for worker in self.serving.iter().chain(&self.leaving) {
                    worker.signal(rustix::process::Signal::USR1);
                }
            }
            Signal::SIGUSR2 => return self.upgrade(),
            _ => {}
        }
        Ok(())
    }

    /// Says that the node serves: to `start`, or to the person in front of the terminal.
    fn announce(&mut self) -> io::Result<()> {
        self.is_announced = true;
        if !self.in_background {
            return writeln!(io::stdout(), "Silverback started");
        }
        io::stdout().write_all(b"ready\n")?;
        io::stdout().flush()?;
        // From here on nobody who reads what `start` prints waits for the node.
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        match &self.plan.log.target {
            LogTarget::Stderr => {}
            LogTarget::File(path) => rustix::stdio::dup2_stderr(open_log(path, self.plan.log.may_be_link)?)?,
            LogTarget::Off | LogTarget::Stdout => rustix::stdio::dup2_stderr(&null)?,
        }
        Ok(())
    }

    /// Becomes the new program, if that accepts the configuration.
    fn upgrade(&mut self) -> anyhow::Result<()> {
        if self.is_stopping || !self.is_announced {
            return Ok(());
        }
        if let Err(reason) = upgrade::check(&self.program, &self.plan.source) {
            log::error!("the upgrade is off: {reason}");
            return Ok(());
        }
        self.abandon_start();
        let Some(pid_file) = self.pid_file.take() else { return Ok(()) };
        let mut workers: Vec<_> = self.serving.take().into_iter().collect();
        let serving = workers.len();
        workers.append(&mut self.leaving);
        let handover = Handover {
            source: self.plan.source.clone(),
            values: self.plan.values.clone(),
            in_background: self.in_background,
            sockets: self.plan.sockets.clone(),
            pid_file,
            workers,
            state: self.state.clone(),
        };
        let error = upgrade::replace(&self.program, &handover);
        log::error!("the upgrade is off: could not run {}: {error}", self.program.display());
        self.pid_file = Some(handover.pid_file);
        self.leaving = handover.workers;
        if serving == 1 {
            self.serving = Some(self.leaving.remove(0));
        }
        Ok(())
    }

    fn streams(&self, plan: &Plan) -> Streams {
        Streams { in_background: self.in_background, log: plan.log.target.clone(), may_be_link: plan.log.may_be_link }
    }
}
