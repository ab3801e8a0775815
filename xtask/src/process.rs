//! Child processes: started on a chosen core, watched, measured through /proc, and ended with all their descendants.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Open files that a process of the benchmark asks for, where the machine gives as many.
const OPEN_FILES: u64 = 65_536;
const STOP_TIME: Duration = Duration::from_secs(10);

/// A process that ends with this value.
pub(crate) struct Running {
    child: Child,
    name: String,
}

/// Processor time of a process and its descendants.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

/// Memory of a process and its descendants, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident now; pages shared by several processes count for each of them.
    pub(crate) resident: u64,
    /// The highest resident size so far, summed over the processes.
    pub(crate) peak: u64,
    /// Resident now; shared pages are divided among those who share them.
    pub(crate) proportional: u64,
}

/// A command whose process runs on one core only and may open as many files as this one.
pub(crate) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// Has the calling thread run on one core only.
pub(crate) fn pin_thread(core: usize) -> Result<()> {
    let thread = std::fs::read_link("/proc/thread-self")?;
    let id = thread.file_name().context("a thread has an id")?;
    let output = Command::new("taskset").args(["-cp", &core.to_string()]).arg(id).output()?;
    if !output.status.success() {
        bail!("taskset cannot pin a thread: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Lets this process, and those it starts from now on, open as many files as the machine allows.
pub(crate) fn raise_open_files() -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).context("no limit of open files is told")?;
    let wanted = hard.parse().map_or(OPEN_FILES, |hard: u64| hard.min(OPEN_FILES));
    let me = std::process::id().to_string();
    let status = Command::new("prlimit").args(["--pid", &me, &format!("--nofile={wanted}:{hard}")]).status()?;
    if !status.success() {
        bail!("prlimit cannot set the number of open files to {wanted}");
    }
    Ok(())
}

impl Running {
    /// Starts a command in the background; what it prints goes to a log file.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Running> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Running { child, name: name.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something listens at the address; fails at once where the process ends before.
    pub(crate) fn wait_until_listening(&mut self, at: SocketAddr, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while TcpStream::connect_timeout(&at, Duration::from_millis(200)).is_err() {
            self.fail_if_ended()?;
            if Instant::now() > end {
                bail!("{} does not listen on {at} after {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn fail_if_ended(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended with {status}", self.name),
            None => Ok(()),
        }
    }

    /// Processor time so far, over the process and its living descendants.
    pub(crate) fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for pid in family(self.pid()) {
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // The second field is the program's name in brackets and may contain anything.
            let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
            let ticks = |n: usize| rest.split(' ').nth(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
            // Fields 14 and 15 of proc(5), in ticks of 1/100 s on every Linux that Rust supports.
            sum.user += Duration::from_millis(ticks(11) * 10);
            sum.system += Duration::from_millis(ticks(12) * 10);
        }
        sum
    }

    /// As [`Running::usage`], user and system together, to the nanosecond; without threads that have ended.
    pub(crate) fn processor_time(&self) -> Duration {
        let mut nanoseconds = 0;
        for pid in family(self.pid()) {
            let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let told = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                nanoseconds += told.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Duration::from_nanos(nanoseconds)
    }

    pub(crate) fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for pid in family(self.pid()) {
            sum.resident += kib(pid, "status", "VmRSS:");
            sum.peak += kib(pid, "status", "VmHWM:");
            sum.proportional += kib(pid, "smaps_rollup", "Pss:");
        }
        sum
    }

    /// How many processes and threads there are in all.
    pub(crate) fn family_size(&self) -> (usize, usize) {
        let pids = family(self.pid());
        let threads = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        (pids.len(), pids.iter().map(threads).sum())
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid(), name)
    }

    /// Asks the process to end, waits, and ends whatever is left of it and its descendants.
    fn stop(&mut self) {
        let members = family(self.pid());
        let asked = self.signal("TERM").is_ok();
        let end = Instant::now() + STOP_TIME;
        while asked && Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = members.into_iter().filter(|pid| *pid != self.pid() && is_alive(*pid));
        for pid in left {
            // It may have ended by itself in the meantime: that is as good.
            let _ = signal(pid, "KILL");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address on this machine that nothing listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("no free port")?.local_addr()?)
}

pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("cannot send {name} to process {pid}");
    }
    Ok(())
}

/// True while the process runs: a zombie no longer does.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// A process and all its living descendants.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        next += 1;
        // Each thread has children of its own in this listing.
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    members
}

fn kib(pid: u32, file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}
