//! `silverback version`

use clap::Args;

use super::say;

/// The version of Kong whose behaviour this is.
const KONG: &str = "3.10";

#[derive(Args)]
pub(super) struct Version {
    /// Print what it is compatible with and made of, too
    #[arg(short, long)]
    all: bool,
}

impl Version {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        if !self.all {
            return Ok(say(format_args!("{version}"))?);
        }
        say(format_args!("Silverback: {version}"))?;
        say(format_args!("Kong (compatible): {KONG}"))?;
        Ok(say(format_args!("System: {} {}", std::env::consts::OS, std::env::consts::ARCH))?)
    }
}
