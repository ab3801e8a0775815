//! A PostgreSQL server for the recorded cases: `xtask/postgres.sh`, which the tests of the store use too.

use crate::project;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

pub(crate) struct Postgres {
    script: Child,
    /// The server lives until this is closed.
    lives: Option<ChildStdin>,
    at: SocketAddr,
}

impl Postgres {
    /// Starts one in a folder that must not be there yet.
    pub(crate) fn start(folder: &Path) -> Result<Postgres> {
        let at = crate::process::free_address()?;
        let mut script = Command::new("bash")
            .arg(project::root().join("xtask/postgres.sh"))
            .arg(folder)
            .arg(at.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run bash")?;
        let mut said = String::new();
        if let Some(output) = script.stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        let lives = script.stdin.take();
        let postgres = Postgres { script, lives, at };
        ensure!(said.trim() == "ready", "PostgreSQL did not start; the lines above say why");
        Ok(postgres)
    }

    /// The gateway's properties for a schema of its own.
    pub(crate) fn properties(&self, schema: &str) -> Vec<(&'static str, String)> {
        vec![
            ("database", "postgres".to_owned()),
            ("pg_host", self.at.ip().to_string()),
            ("pg_port", self.at.port().to_string()),
            ("pg_password", "kong".to_owned()),
            ("pg_schema", schema.to_owned()),
        ]
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lives.take());
        let _ = self.script.wait();
    }
}
