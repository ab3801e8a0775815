//! Servers that tests run: scripts of `xtask/` that live until their standard input ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

pub(crate) struct Script {
    process: Child,
    lives: Option<ChildStdin>,
    /// Where it keeps its files.
    pub(crate) folder: PathBuf,
}

impl Script {
    /// Runs a script with a folder of its own and these arguments, and waits until it is ready. A script that cannot says why,
    /// and the test fails.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("silverback-{name}-{}", uuid::Uuid::new_v4()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask").join(name);
        let mut command = Command::new("bash");
        command.arg(script).arg(&folder).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), "ready", "{name} says above why it ended");
        let lives = process.stdin.take();
        Self { process, lives, folder }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.lives.take());
        let _ = self.process.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
