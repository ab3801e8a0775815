//! `silverback man`

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;

#[derive(Args)]
pub(super) struct Man {
    /// Write the pages of all commands into this directory instead
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let command = Cli::command();
        match self.directory {
            Some(directory) => clap_mangen::generate_to(command, directory)?,
            None => clap_mangen::Man::new(command).render(&mut io::stdout())?,
        }
        Ok(())
    }
}
