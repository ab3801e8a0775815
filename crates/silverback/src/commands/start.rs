//! `silverback start`

use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;

use super::{AlreadyTold, Detail, Files, Program, Unused, migrations, run, say, warn};
use crate::conf;
use crate::supervisor::pid_file;

#[derive(Args, Clone)]
pub(super) struct Start {
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) unused: Unused,
    /// Add what the database lacks before the start
    #[arg(long)]
    pub(super) run_migrations: bool,
}

impl Start {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        self.unused.mention(detail)?;
        let settings = self.files.conf(detail)?;
        if pid_file::running(&settings.prefix)?.is_some() {
            bail!("Silverback is already running in {}", settings.prefix.display());
        }
        // The log has them too; the terminal is where a mistake is noticed.
        if settings.is_daemon() {
            warn(&settings)?;
        }
        if self.run_migrations {
            migrations::before_start(&settings, program)?;
        }
        if !settings.is_daemon() {
            return run::in_foreground(&self.files);
        }
        let program = conf::program();
        let mut command = Command::new(&program);
        command.args(["run", "--background"]);
        for (option, path) in [("--conf", &self.files.conf), ("--prefix", &self.files.prefix)] {
            if let Some(path) = path {
                command.arg(option).arg(path);
            }
        }
        let mut node = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not run {}", program.display()))?;
        let mut word = [0; 6];
        let is_ready = node.stdout.take().is_some_and(|mut output| output.read_exact(&mut word).is_ok());
        if !is_ready {
            node.wait()?;
            return Err(AlreadyTold.into());
        }
        Ok(say(format_args!("Silverback started"))?)
    }
}
