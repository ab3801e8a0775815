//! A Redis of a test's own: on ports of its own, in a folder of its own, without anything kept on disk.

use crate::gateway::{eventually, free_address};
use crate::packages;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub(crate) struct Redis {
    pub(crate) at: SocketAddr,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::start_with(free_address(), &[])
    }

    /// `at` is where it is asked by tests, without TLS.
    pub(crate) fn start_with(at: SocketAddr, arguments: &[&str]) -> Redis {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Redis { at, folder: tempfile::tempdir().unwrap(), arguments, child: None };
        redis.begin();
        redis
    }

    /// Starts it, empty.
    pub(crate) fn begin(&mut self) {
        let mut command = Command::new(packages::program("redis-server", "redis-server"));
        command.args([
            "--port",
            &self.at.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        eventually("redis answers", || self.ask(&["PING"]) == "PONG");
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A command's answer, as redis-cli prints it.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new(packages::program("redis-cli", "redis-tools"));
        cli.args(["-p", &self.at.port().to_string()]).args(command).stderr(Stdio::null());
        String::from_utf8_lossy(&cli.output().unwrap().stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
