//! The life of workers: started, promoted, told to go, reaped, started again.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Signal, WaitOptions, WaitStatus, wait};

use super::plan::Plan;
use super::sockets::Sockets;
use super::worker_process::WorkerProcess;
use super::{GRACE, RELOAD_FILE, Reason, Starting, Supervisor};
use crate::conf::Source;

/// A worker that lived this long did not crash because of how it was started.
const STABLE: Duration = Duration::from_secs(10);
/// The longest pause between starts of a worker that keeps crashing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn start_worker(&mut self, plan: Plan, sockets: Sockets, reason: Reason) -> anyhow::Result<()> {
        self.abandon_start();
        let worker =
            WorkerProcess::start(&plan, &sockets, self.in_background).context("could not start a worker process")?;
        self.starting = Some(Starting { worker, plan, sockets, reason });
        Ok(())
    }

    /// Gives up a worker that is not ready yet.
    pub(super) fn abandon_start(&mut self) {
        if let Some(starting) = self.starting.take() {
            self.send_off(starting.worker, Signal::KILL, GRACE);
        }
    }

    fn send_off(&mut self, mut worker: WorkerProcess, signal: Signal, time: Duration) {
        worker.signal(signal);
        worker.deadline = Instant::now().checked_add(time);
        self.leaving.push(worker);
    }

    /// Starts a worker with the configuration as it is now; the old one goes when the new one serves, and stays if it never does.
    pub(super) fn change(&mut self, reason: Reason) {
        if self.is_stopping {
            return;
        }
        let plan = self.read_plan();
        if let Err(error) = plan.and_then(|(plan, sockets)| self.start_worker(plan, sockets, reason)) {
            self.refuse_change(reason, &format!("{error:#}"));
        }
    }

    fn read_plan(&self) -> anyhow::Result<(Plan, Sockets)> {
        let plan = Plan::ask(&self.wanted_source())?;
        let (old, new) = (&self.plan.prefix, &plan.prefix);
        if old != new {
            bail!("the prefix of a running node cannot change: it is {}, not {}", old.display(), new.display());
        }
        let sockets = Sockets::open(&plan, &self.sockets)?;
        self.warn_about(&plan);
        Ok((plan, sockets))
    }

    /// The source so far, with what the command `reload` left for it.
    fn wanted_source(&self) -> Source {
        let path = self.plan.prefix.join(RELOAD_FILE);
        let Ok(text) = fs::read(&path) else { return self.plan.source.clone() };
        // Read once: it may hold secrets.
        let _ = fs::remove_file(&path);
        match serde_json::from_slice(&text) {
            Ok(other) => self.plan.source.overlaid(&other),
            Err(_) => self.plan.source.clone(),
        }
    }

    fn refuse_change(&mut self, reason: Reason, problem: &str) {
        let what = if reason == Reason::Upgrade { "upgrade" } else { "reload" };
        log::error!("the {what} failed, the node goes on as before: {problem}");
        if reason == Reason::Reload {
            self.state.reloads += 1;
            self.state.reload_error = Some(problem.to_owned());
        }
        if self.serving.is_none() && self.starting.is_none() {
            self.restart_later();
        }
        self.write_state();
    }

    /// Looks at what the starting worker said.
    pub(super) fn follow_start(&mut self) -> anyhow::Result<()> {
        let Some(starting) = &mut self.starting else { return Ok(()) };
        if let Some(problem) = starting.worker.failure.take() {
            return self.fail_start(&problem);
        }
        if starting.worker.is_ready {
            self.promote()?;
        }
        Ok(())
    }

    fn promote(&mut self) -> anyhow::Result<()> {
        let Some(Starting { worker, plan, sockets, reason }) = self.starting.take() else { return Ok(()) };
        let old = self.serving.replace(worker);
        let drain_timeout = std::mem::replace(&mut self.plan, plan).drain_timeout;
        std::mem::replace(&mut self.sockets, sockets).remove_files_beyond(&self.sockets);
        if let Err(error) = self.log.redirect(&self.plan.log) {
            log::error!("{error}");
        }
        if let Some(old) = old {
            self.send_off(old, Signal::QUIT, drain_timeout.saturating_add(GRACE));
        }
        if reason == Reason::Reload {
            self.state.reloads += 1;
            self.state.reload_error = None;
            log::warn!(target: "notice", "reloaded");
        }
        self.restart_at = None;
        self.write_state();
        if !self.is_announced {
            log::warn!(target: "notice", "started, {} threads", self.plan.threads);
            self.announce()?;
        }
        super::give_back_start();
        Ok(())
    }

    fn fail_start(&mut self, problem: &str) -> anyhow::Result<()> {
        let Some(Starting { worker, reason, .. }) = self.starting.take() else { return Ok(()) };
        self.send_off(worker, Signal::TERM, GRACE);
        match reason {
            Reason::Start if !self.is_announced => bail!("{problem}"),
            Reason::Reload | Reason::Upgrade => self.refuse_change(reason, problem),
            Reason::Start | Reason::Crash => {
                log::error!(target: "alert", "the worker process could not be started again: {problem}");
                self.restart_later();
            }
        }
        Ok(())
    }

    /// Takes note of the processes that ended.
    pub(super) fn reap(&mut self) -> anyhow::Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(index) = self.leaving.iter().position(|worker| worker.pid == pid) {
                self.leaving.swap_remove(index);
                self.write_state();
            } else if self.starting.as_ref().is_some_and(|starting| starting.worker.pid == pid) {
                let problem = format!("the worker process ended during its start ({})", describe(status));
                let start = self.starting.as_mut().map(|starting| {
                    // Its last words may have come with its end.
                    starting.worker.listen();
                    starting.worker.failure.take().unwrap_or(problem)
                });
                self.fail_start(&start.unwrap_or_default())?;
                self.leaving.retain(|worker| worker.pid != pid);
            } else if let Some(worker) = self.serving.take_if(|worker| worker.pid == pid) {
                if self.is_stopping {
                    continue;
                }
                log::error!(target: "alert", "worker process {} ended: {}", pid.as_raw_nonzero(), describe(status));
                if worker.started.elapsed() >= STABLE {
                    self.crashes = 0;
                }
                if self.starting.is_none() {
                    self.restart_later();
                }
                self.write_state();
            }
        }
        Ok(())
    }

    /// At once the first time, then with growing pauses: a worker that cannot live must not take the machine with it.
    fn restart_later(&mut self) {
        let pause = match self.crashes {
            0 => Duration::ZERO,
            crashes => Duration::from_millis(100).saturating_mul(1 << (crashes - 1).min(10)).min(LONGEST_PAUSE),
        };
        self.crashes += 1;
        self.restart_at = Instant::now().checked_add(pause);
    }

    pub(super) fn meet_deadlines(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for worker in &mut self.leaving {
            if worker.deadline.is_some_and(|deadline| deadline <= now) {
                log::warn!("worker process {} did not end in time and is killed", worker.pid.as_raw_nonzero());
                worker.signal(Signal::KILL);
                worker.deadline = None;
            }
        }
        if self.restart_at.is_some_and(|at| at <= now) && !self.is_stopping {
            self.restart_at = None;
            if self.starting.is_none() {
                let reason = if self.is_announced { Reason::Crash } else { Reason::Start };
                if let Err(error) = self.start_worker(self.plan.clone(), self.sockets.clone(), reason) {
                    log::error!(target: "alert", "{error:#}");
                    self.restart_later();
                }
            }
        }
        Ok(())
    }

    /// Ends the node: no new connections, and every worker told to go.
    pub(super) fn stop(&mut self, signal: Signal, time: Duration) {
        self.is_stopping = true;
        self.restart_at = None;
        // Connections that nobody would accept any more are refused at once.
        std::mem::take(&mut self.sockets).remove_files_beyond(&Sockets::default());
        self.abandon_start();
        if let Some(worker) = self.serving.take() {
            self.leaving.push(worker);
        }
        for worker in &mut self.leaving {
            worker.signal(signal);
            worker.deadline = Instant::now().checked_add(time);
        }
        self.write_state();
    }

    fn write_state(&mut self) {
        let number = |worker: &WorkerProcess| worker.pid.as_raw_nonzero().get();
        self.state.worker = self.serving.as_ref().map(number);
        self.state.draining = self.leaving.iter().map(number).collect();
        if let Err(error) = self.state.write(&self.plan.prefix) {
            log::warn!("could not write the state of the node: {error}");
        }
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown reason".to_owned(),
    }
}
