//! The first process of a node. It holds the listening sockets, keeps a worker process serving on them, and replaces that
//! worker on a crash, a reload or an upgrade of the program, so that no connection is dropped. It knows nothing of requests.

mod address;
mod lifecycle;
pub(crate) mod pid_file;
mod plan;
mod signals;
mod sockets;
mod transfer;
mod upgrade;
mod user;
mod worker;
mod worker_process;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::conf::{LogTarget, Source, program};
use crate::error_log::{ErrorLog, open_log};
use pid_file::{PidFile, State};
use plan::Plan;
use signals::Signals;
use sockets::Sockets;
use upgrade::Handover;
use worker_process::WorkerProcess;

pub use address::Address;
pub(crate) use plan::{PLAN, answer as answer_plan};
pub use sockets::ListenerKind;
pub(crate) use worker::run as run_worker;
pub use worker::{Control, Event, Inherited, Worker, WorkerMain};
pub(crate) use worker_process::WORKER;

/// The hidden command that is the supervisor.
pub(crate) const SUPERVISE: &str = "supervise";
/// Where the command `reload` leaves its environment and options, for the next reload to use.
pub(crate) const RELOAD_FILE: &str = "pids/reload.json";
/// Beyond the time a worker was given, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

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
    sockets: Sockets,
    reason: Reason,
}

struct Supervisor {
    program: PathBuf,
    in_background: bool,
    signals: Signals,
    log: ErrorLog,
    /// `None` only while another program takes over.
    pid_file: Option<PidFile>,
    plan: Plan,
    sockets: Sockets,
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
///
/// The process reads the configuration and binds the sockets, and then begins anew as the supervisor alone, without what the
/// reading left in memory.
pub(crate) fn run(source: Source, in_background: bool) -> anyhow::Result<()> {
    if in_background {
        close_inherited()?;
        // Fails for a leader of a process group only, which a child of `start` is not.
        rustix::process::setsid()?;
    }
    let plan = Plan::read(source)?;
    if !in_background && plan.log.target != LogTarget::Stderr {
        for warning in &plan.warnings {
            writeln!(io::stderr(), "Warning: {warning}")?;
        }
    }
    let Some(pid_file) = PidFile::take(&plan.prefix)? else {
        bail!("Silverback is already running in {}", plan.prefix.display());
    };
    let sockets = Sockets::open(&plan, &Sockets::default())?;
    let handover = Handover {
        program: program(),
        plan,
        in_background,
        sockets,
        pid_file,
        workers: Vec::new(),
        state: State::default(),
        is_upgrade: false,
    };
    let error = upgrade::replace(Path::new("/proc/self/exe"), &handover);
    Err(anyhow::Error::from(error).context("could not become the supervisor"))
}

/// Closes what the caller of `start` happened to have open: a node would hold its locks and keep its pipes from ending for as
/// long as it runs. Nothing in this process has opened a file yet.
fn close_inherited() -> io::Result<()> {
    let names: Vec<_> =
        fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    for number in names.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok()).filter(|number| *number > 2) {
        // The directory that was read is among them, and closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// The supervisor: goes on where the program before it, or `run`, left off.
pub(crate) fn supervise() -> anyhow::Result<()> {
    // Comes first: signals were held back for it.
    let signals = Signals::catch()?;
    // The name of the program that `replace` ran may be "exe".
    let _ = rustix::thread::set_name(c"silverback");
    Supervisor::new(upgrade::take_over()?, signals)?.supervise()
}

/// Gives back what only the start of this process, supervisor or worker, needed.
pub(crate) fn give_back_start() {
    if let Err(error) = footprint::give_back_start() {
        log::info!("memory of the start is kept: {error}");
    }
}

impl Supervisor {
    fn new(handover: Handover, signals: Signals) -> anyhow::Result<Self> {
        let Handover { program, plan, in_background, sockets, pid_file, workers, state, is_upgrade } = handover;
        let log = ErrorLog::direct(&plan.log)?;
        log.install()?;
        let mut supervisor = Self {
            program,
            in_background,
            signals,
            log,
            pid_file: Some(pid_file),
            plan,
            sockets,
            state,
            serving: None,
            starting: None,
            leaving: Vec::new(),
            crashes: 0,
            restart_at: None,
            is_announced: is_upgrade,
            is_stopping: false,
        };
        for mut worker in workers {
            worker.is_ready = true;
            if Some(worker.pid.as_raw_nonzero().get()) == supervisor.state.worker {
                supervisor.serving = Some(worker);
            } else {
                worker.deadline = Some(Instant::now() + supervisor.plan.drain_timeout + GRACE);
                supervisor.leaving.push(worker);
            }
        }
        if is_upgrade {
            log::warn!(target: "notice", "upgraded to Silverback {}", env!("CARGO_PKG_VERSION"));
            supervisor.change(Reason::Upgrade);
        } else {
            supervisor.warn_about(&supervisor.plan);
            supervisor.start_worker(supervisor.plan.clone(), supervisor.sockets.clone(), Reason::Start)?;
        }
        Ok(supervisor)
    }

    fn warn_about(&self, plan: &Plan) {
        for warning in &plan.warnings {
            log::warn!("{warning}");
        }
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
            LogTarget::Off | LogTarget::Stdout | LogTarget::Syslog(_) => rustix::stdio::dup2_stderr(&null)?,
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
            program: self.program.clone(),
            plan: self.plan.clone(),
            in_background: self.in_background,
            sockets: self.sockets.clone(),
            pid_file,
            workers,
            state: self.state.clone(),
            is_upgrade: true,
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
}
