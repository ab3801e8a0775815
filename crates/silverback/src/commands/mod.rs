//! The command line: one file a command, with Kong's names, flags, messages and exit codes.

mod admin_api;
mod backup;
mod check;
mod completions;
mod config;
mod health;
mod import;
mod man;
mod migrations;
mod prepare;
mod quit;
mod reload;
mod restart;
mod run;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod vault;
mod version;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use entities::Catalog;

pub use config::describe_invalid;

use crate::conf::{Conf, Source};
use crate::supervisor::{PLAN, SUPERVISE, WORKER, WorkerMain, answer_plan, run_worker, supervise};

/// What a program is made of, beside what this crate knows.
pub struct Program {
    /// The data plane.
    pub worker: WorkerMain,
    /// The schemas of entities and plugins, for commands that check declarative configurations.
    pub catalog: fn(&Conf) -> Catalog,
}

/// The whole program: parses the command line and does what it says.
pub fn main(program: &Program) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // The processes of a node, which have no command line to speak of, and no use for its parser in their memory.
    match arguments.get(1).and_then(|command| command.to_str()) {
        Some(WORKER) => return run_worker(program.worker),
        Some(PLAN) => return answer_plan(),
        Some(SUPERVISE) => return exit_code(supervise(), Detail { verbose: false, all: false }),
        _ => {}
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let detail = Detail { verbose: cli.v || cli.vv, all: cli.vv };
    exit_code(cli.command.execute(detail, program), detail)
}

fn exit_code(result: anyhow::Result<()>, detail: Detail) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Exit(code)) = error.downcast_ref() {
                return *code;
            }
            if !error.is::<AlreadyTold>() {
                let _ = writeln!(io::stderr(), "{}", failure(&error, detail));
            }
            ExitCode::FAILURE
        }
    }
}

fn failure(error: &anyhow::Error, detail: Detail) -> String {
    if detail.verbose {
        return format!("Error: {error:?}");
    }
    format!("Error: {error:#}\n\n  Run with --v (verbose) or --vv (debug) for more details")
}

/// An API gateway that runs the configuration, the plugins and the Admin API of Kong.
#[derive(Parser)]
#[command(
    name = "silverback",
    bin_name = "silverback",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Configuration is read from -c FILE, else from the first of /etc/silverback/silverback.conf, \
                  /etc/kong/kong.conf and /etc/kong.conf. The environment goes over it: KONG_<PROPERTY>, and over that \
                  SILVERBACK_<PROPERTY>.\n\nFirst steps:\n  silverback run                     # in the foreground, Ctrl-C ends it\n  \
                  silverback start; silverback health; silverback quit\n  silverback config default-conf     # every property \
                  with its default"
)]
pub(crate) struct Cli {
    /// Say what is done
    #[arg(long = "v", global = true)]
    v: bool,
    /// Say what is done, and with which configuration
    #[arg(long = "vv", global = true)]
    vv: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the node in the background, and wait until it serves
    Start(start::Start),
    /// Run the node in the foreground
    Run(run::Run),
    /// Stop the node at once
    Stop(stop::Stop),
    /// Stop the node after it has finished the open requests
    Quit(quit::Quit),
    /// Stop the node and start it again
    Restart(restart::Restart),
    /// Use a changed configuration, without dropping a connection
    Reload(reload::Reload),
    /// Check a configuration file
    Check(check::Check),
    /// Tell whether the node runs
    Health(health::Health),
    /// Make the directories of the prefix
    Prepare(prepare::Prepare),
    /// Work with configuration files
    Config(config::Config),
    /// Describe the Admin API
    AdminApi(admin_api::AdminApi),
    /// Work with the tables of database = postgres
    Migrations(migrations::Migrations),
    /// Import the configuration of a running Kong
    Import(import::Import),
    /// Copy the database of database = embedded, also while the node runs
    Backup(backup::Backup),
    /// Work with secrets
    Vault(vault::Vault),
    /// Print the version
    Version(version::Version),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Print the manual page
    Man(man::Man),
}

impl Command {
    fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        match self {
            Self::Start(command) => command.execute(detail, program),
            Self::Run(command) => command.execute(detail),
            Self::Stop(command) => command.execute(detail),
            Self::Quit(command) => command.execute(detail),
            Self::Restart(command) => command.execute(detail, program),
            Self::Reload(command) => command.execute(detail),
            Self::Check(command) => command.execute(detail, program),
            Self::Health(command) => command.execute(detail),
            Self::Prepare(command) => command.execute(detail),
            Self::Config(command) => command.execute(detail, program),
            Self::AdminApi(command) => command.execute(detail, program),
            Self::Migrations(command) => command.execute(detail, program),
            Self::Import(command) => command.execute(detail, program),
            Self::Backup(command) => command.execute(detail, program),
            Self::Vault(command) => command.execute(detail),
            Self::Version(command) => command.execute(),
            Self::Completions(command) => command.execute(),
            Self::Man(command) => command.execute(),
        }
    }
}

/// How much a command says about what it does.
#[derive(Clone, Copy)]
struct Detail {
    verbose: bool,
    all: bool,
}

/// The options of the commands that read a configuration.
#[derive(Args, Clone)]
struct Files {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// The working directory; goes over the property `prefix`
    #[arg(short, long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// Options of Kong's that have nothing to do here: taken, so that its scripts run.
#[derive(Args, Clone)]
struct Unused {
    #[arg(long, hide = true, value_name = "FILE")]
    nginx_conf: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "FLAGS")]
    nginx_conf_flags: Option<String>,
    #[arg(long, hide = true, value_name = "SECONDS")]
    db_timeout: Option<u32>,
    #[arg(long, hide = true, value_name = "SECONDS")]
    lock_timeout: Option<u32>,
}

impl Unused {
    /// Says which of them were given.
    fn mention(&self, detail: Detail) -> io::Result<()> {
        let given = [
            ("--nginx-conf", self.nginx_conf.is_some()),
            ("--nginx-conf-flags", self.nginx_conf_flags.is_some()),
            ("--db-timeout", self.db_timeout.is_some()),
            ("--lock-timeout", self.lock_timeout.is_some()),
        ];
        given
            .iter()
            .filter(|(_, is_given)| *is_given)
            .try_for_each(|(name, _)| detail.tell(format_args!("{name} has no effect")))
    }
}

impl Files {
    fn source(&self) -> Source {
        Source::from_cli(self.conf.as_deref(), self.prefix.as_deref())
    }

    fn conf(&self, detail: Detail) -> anyhow::Result<Conf> {
        let values = self.source().read()?;
        match &values.file {
            Some(path) => detail.tell(format_args!("reading the configuration from {}", path.display()))?,
            None => detail.tell(format_args!("no configuration file, using the defaults"))?,
        }
        let conf = Conf::new(&values)?;
        detail.tell(format_args!("the prefix is {}", conf.prefix.display()))?;
        if detail.all
            && let serde_json::Value::Object(properties) = conf.dump()
        {
            for (name, value) in properties {
                detail.tell(format_args!("{name} = {value}"))?;
            }
        }
        Ok(conf)
    }
}

/// The prefix of a running node. Named, it is taken as it is: a broken configuration must not keep a node from being stopped.
fn prefix(named: Option<&Path>, detail: Detail) -> anyhow::Result<PathBuf> {
    match named {
        Some(prefix) => Ok(std::path::absolute(prefix)?),
        None => Ok(Files { conf: None, prefix: None }.conf(detail)?.prefix),
    }
}

impl Detail {
    fn tell(self, message: fmt::Arguments<'_>) -> io::Result<()> {
        if self.verbose { writeln!(io::stderr(), "{message}") } else { Ok(()) }
    }
}

/// What a configuration says without effect, or by mistake.
fn warn(conf: &Conf) -> io::Result<()> {
    conf.warnings().iter().try_for_each(|warning| writeln!(io::stderr(), "Warning: {warning}"))
}

/// One line on standard output.
fn say(message: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(io::stdout(), "{message}")
}

/// The failure of a command whose reason another process has printed.
#[derive(Debug, thiserror::Error)]
#[error("the reason was printed before")]
struct AlreadyTold;

/// A code to end with, where a command has said everything.
#[derive(Debug, thiserror::Error)]
#[error("the command ends with a code of its own")]
struct Exit(ExitCode);
