//! A node of the tests: a prefix, a configuration file and a port of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const MARK: &str = "SB_TEST_CLI";

/// The process of the tests, in a process that it started.
#[expect(clippy::disallowed_methods, reason = "a mark of the tests, not a setting")]
pub(crate) fn harness() -> Option<Pid> {
    Pid::from_raw(std::env::var(MARK).ok()?.parse().ok()?)
}

pub(crate) struct Node {
    directory: TempDir,
    pub(crate) port: u16,
    pub(crate) program: PathBuf,
}

/// A connection that stays open.
pub(crate) struct Client(BufReader<TcpStream>);

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Node {
    pub(crate) fn new(more: &str) -> Self {
        let directory = TempDir::with_prefix("sb").unwrap();
        let node = Self { directory, port: free_port(), program: std::env::current_exe().unwrap() };
        node.configure(more);
        node
    }

    /// A node that runs.
    pub(crate) fn started(more: &str) -> Self {
        let node = Self::new(more);
        node.start();
        node
    }

    pub(crate) fn start(&self) {
        let output = self.command(&["start"]);
        assert_eq!(text(&output), (0, "Silverback started\n".to_owned(), String::new()));
    }

    pub(crate) fn configure(&self, more: &str) {
        let (prefix, port) = (self.prefix().display().to_string(), self.port);
        let listen =
            if more.contains("proxy_listen") { String::new() } else { format!("proxy_listen = 127.0.0.1:{port}\n") };
        let text = format!(
            "prefix = {prefix}\n{listen}admin_listen = off\nstatus_listen = off\nnginx_worker_processes = 2\n{more}\n"
        );
        fs::write(self.conf(), text).unwrap();
    }

    pub(crate) fn prefix(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.prefix().join("kong.conf")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.command_with(arguments, &[])
    }

    pub(crate) fn command_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.program_with(arguments);
        command.envs(environment.iter().copied());
        match arguments {
            ["stop" | "quit" | "health", ..] => command.arg("-p").arg(self.prefix()),
            _ => command.arg("-c").arg(self.conf()),
        };
        output(command)
    }

    /// A command that is not about the node.
    pub(crate) fn command_alone(&self, arguments: &[&str]) -> Output {
        output(self.program_with(arguments))
    }

    fn program_with(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env(MARK, std::process::id().to_string());
        command
    }

    pub(crate) fn supervisor(&self) -> Pid {
        let text = fs::read_to_string(self.prefix().join("pids/silverback.pid")).unwrap();
        assert_eq!(fs::read_to_string(self.prefix().join("pids/nginx.pid")).unwrap(), text);
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.supervisor(), signal).unwrap();
    }

    pub(crate) fn ask(&self, line: &str) -> std::io::Result<String> {
        Client::new(self.port)?.ask(line)
    }

    /// The process id of the worker that answers.
    pub(crate) fn worker(&self) -> Pid {
        let answer = self.ask("pid").unwrap();
        Pid::from_raw(answer.parse().unwrap()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.prefix().join("logs/error.log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.prefix().join("pids/silverback.pid").exists() {
            self.command(&["stop"]);
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- error log\n{}---", self.log());
        }
    }
}

impl Client {
    pub(crate) fn new(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn ask(&mut self, line: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        if self.0.read_line(&mut answer)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }
}

/// Exit code, standard output and standard error.
pub(crate) fn text(output: &Output) -> (i32, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), string(&output.stdout), string(&output.stderr))
}

pub(crate) fn lives(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
        // A zombie of a supervisor that was killed has no parent here that would take note.
        && !fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| stat.contains(") Z "))
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command. A program that was just written is busy while a process that another test forked meanwhile has yet to close
/// what it inherited.
fn output(mut command: Command) -> Output {
    loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}
