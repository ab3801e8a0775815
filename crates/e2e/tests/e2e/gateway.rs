//! A gateway in the foreground with a kong.yml, ports and a prefix of its own; it ends with the value.

use crate::program;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Gateway {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) ports: Ports,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) proxy: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) status: SocketAddr,
}

/// Properties beyond the listeners, the prefix and the kong.yml.
pub(crate) type Properties<'a> = &'a [(&'a str, &'a str)];

impl Ports {
    pub(crate) fn free() -> Ports {
        Ports { proxy: free_address(), tls: free_address(), admin: free_address(), status: free_address() }
    }
}

/// An address that nothing listens on. Below the ports of outgoing connections and never twice: with SO_REUSEPORT two
/// gateways would share one without a word.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let start = (std::process::id() % 200) as u16 * 100;
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// Waits until something is true.
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_true() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes kong.conf and kong.yml into a folder; returns the former's path.
pub(crate) fn configure(
    folder: &tempfile::TempDir,
    ports: Ports,
    kong_yml: &str,
    properties: Properties<'_>,
) -> String {
    let path = |name: &str| folder.path().join(name);
    fs::write(path("kong.yml"), kong_yml).unwrap();
    let Ports { proxy, tls, admin, status } = ports;
    let mut text = format!(
        "prefix = {}\ndatabase = off\ndeclarative_config = {}\nproxy_listen = {proxy} reuseport, {tls} ssl http2 reuseport\n\
         admin_listen = {admin}\nstatus_listen = {status}\nadmin_gui_listen = off\nnginx_worker_processes = 2\n",
        path("prefix").display(),
        path("kong.yml").display()
    );
    for (name, value) in properties {
        // The last line of a property counts.
        text += &format!("{name} = {value}\n");
    }
    fs::write(path("kong.conf"), text).unwrap();
    path("kong.conf").display().to_string()
}

impl Gateway {
    pub(crate) fn start(kong_yml: &str) -> Gateway {
        Gateway::start_with(kong_yml, &[])
    }

    pub(crate) fn start_with(kong_yml: &str, properties: Properties<'_>) -> Gateway {
        Gateway::start_in(kong_yml, properties, &[])
    }

    /// With variables in its environment.
    pub(crate) fn start_in(kong_yml: &str, properties: Properties<'_>, environment: &[(&str, &str)]) -> Gateway {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
        let conf = configure(&folder, ports, kong_yml, properties);
        let output = File::create(folder.path().join("output")).unwrap();
        let mut command = program::command(&["run", "-c", &conf]);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut gateway = Gateway { child: command.spawn().unwrap(), folder, ports };
        // Its sockets take connections earlier, before the configuration is read.
        eventually("the gateway says that it started", || {
            let ended = gateway.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended with {ended:?}: {}", gateway.output());
            gateway.output().contains("Silverback started")
        });
        gateway
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.folder.path().join("prefix")
    }

    /// What the program printed, and its error log.
    pub(crate) fn output(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        read(self.folder.path().join("output")) + &read(self.prefix().join("logs/error.log"))
    }

    pub(crate) fn reload_with(&self, kong_yml: &str) -> Output {
        fs::write(self.folder.path().join("kong.yml"), kong_yml).unwrap();
        let conf = self.folder.path().join("kong.conf");
        program::run(&["reload", "-c", conf.to_str().unwrap()])
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the program's own end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the gateway ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The processes below the supervisor.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let workers = self.workers();
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal("TERM");
            let end = Instant::now() + Duration::from_secs(10);
            while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for worker in workers {
            // One that outlived its supervisor would keep the ports.
            let _ = Command::new("kill").args(["-KILL", &worker.to_string()]).stderr(Stdio::null()).status();
        }
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.output());
        }
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success(), "cannot send {name} to {pid}");
}
