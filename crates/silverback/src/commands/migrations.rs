//! `silverback migrations`: the tables of `database = postgres`, with the words and exit codes of Kong's command.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};
use store::{Postgres, State};

use super::{Detail, Exit, Files, Program, say};
use crate::conf::{Conf, Database};
use crate::node::stores::{self, Opened};

/// What `list` and `status` end with.
const NEEDS_BOOTSTRAP: u8 = 3;
const PENDING: u8 = 4;
const NEW: u8 = 5;

#[derive(Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Migrations {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the tables in an empty database
    Bootstrap(Options),
    /// Add what the database lacks
    Up(Options),
    /// Finish what `up` has begun
    Finish(Options),
    /// List the migrations; exits with 3 where the database needs bootstrapping, 4 where some are pending, 5 where there are new ones
    List(Options),
    /// The same, as JSON
    Status(Options),
    /// Drop all tables, with everything in them
    Reset(Options),
}

#[derive(Args)]
struct Options {
    #[command(flatten)]
    files: Files,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// Do it even if it seems to be done already
    #[arg(short, long)]
    force: bool,
    /// Seconds to wait for the database to be there
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    db_timeout: u64,
    /// Taken for the sake of scripts: whoever changes the tables waits for the others in the database itself
    #[arg(long, value_name = "SECONDS", hide = true)]
    lock_timeout: Option<u64>,
}

impl Migrations {
    pub(super) fn execute(self, detail: Detail, program: &Program) -> anyhow::Result<()> {
        let options = match &self.action {
            Action::Bootstrap(options)
            | Action::Up(options)
            | Action::Finish(options)
            | Action::List(options)
            | Action::Status(options)
            | Action::Reset(options) => options,
        };
        let conf = options.files.conf(detail)?;
        if conf.database != Database::Postgres {
            let name = conf.database.as_str();
            bail!("database = {name} needs no migrations: they are for database = postgres");
        }
        let Opened::Postgres(store) = stores::open(&conf, &(program.catalog)(&conf))? else {
            bail!("the store is not PostgreSQL");
        };
        let state = options.state(&store)?;
        match &self.action {
            Action::Bootstrap(_) => bootstrap(options, &store, &state),
            Action::Up(_) => up(options, &store, &state),
            Action::Finish(_) => finish(options, &state),
            Action::List(_) => list(options, &state),
            Action::Status(_) => status(options, &state),
            Action::Reset(_) => reset(options, &store, &state),
        }
    }
}

/// `start --run-migrations`
pub(super) fn before_start(conf: &Conf, program: &Program) -> anyhow::Result<()> {
    if conf.database != Database::Postgres {
        return Ok(());
    }
    if let Opened::Postgres(store) = stores::open(conf, &(program.catalog)(conf))? {
        stores::check(&store.migrations().state()?)?;
        for addition in store.migrations().up()? {
            say(format_args!("added {addition}"))?;
        }
    }
    Ok(())
}

impl Options {
    fn say(&self, message: &str) -> io::Result<()> {
        if self.quiet { Ok(()) } else { say(format_args!("{message}")) }
    }

    /// Waits for the database, which may be starting beside this command.
    fn state(&self, store: &Arc<Postgres>) -> anyhow::Result<State> {
        let end = Instant::now() + Duration::from_secs(self.db_timeout);
        loop {
            match store.migrations().state() {
                Err(error) if error.is_unavailable && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(500));
                }
                state => return Ok(state?),
            }
        }
    }
}

fn bootstrap(options: &Options, store: &Postgres, state: &State) -> anyhow::Result<()> {
    if !state.needs_bootstrap() && !options.force {
        return Ok(options.say("Database already bootstrapped")?);
    }
    options.say("Bootstrapping database...")?;
    match store.migrations().bootstrap()? {
        true => options.say("Database is up-to-date")?,
        false => options.say("Database already bootstrapped")?,
    }
    Ok(())
}

fn up(options: &Options, store: &Postgres, state: &State) -> anyhow::Result<()> {
    stores::check(state)?;
    let added = store.migrations().up()?;
    if added.is_empty() {
        return Ok(options.say("Database is already up-to-date")?);
    }
    for addition in &added {
        options.say(&format!("added {addition}"))?;
    }
    Ok(options.say(&format!("\n{} migrations processed\nDatabase is up-to-date", added.len()))?)
}

fn finish(options: &Options, state: &State) -> anyhow::Result<()> {
    stores::check(state)?;
    if !state.pending.is_empty() {
        bail!("{}\nThey are Kong's: run 'kong migrations finish'", listed("Pending migrations", &state.pending));
    }
    Ok(options.say("No pending migrations to finish")?)
}

fn listed(title: &str, subsystems: &[(String, Vec<String>)]) -> String {
    let lines = subsystems.iter().map(|(subsystem, names)| format!("\n{subsystem:>12}: {}", names.join(", ")));
    format!("{title}:{}", lines.collect::<String>())
}

fn list(options: &Options, state: &State) -> anyhow::Result<()> {
    if state.needs_bootstrap() {
        options.say("Database needs bootstrapping; run 'silverback migrations bootstrap'")?;
        return Err(Exit(ExitCode::from(NEEDS_BOOTSTRAP)).into());
    }
    options.say(&listed("Executed migrations", &state.executed))?;
    if !state.pending.is_empty() {
        options.say(&format!("\n{}", listed("Pending migrations", &state.pending)))?;
        options.say("\nRun 'kong migrations finish' when ready")?;
    }
    if !state.additions.is_empty() {
        options.say(&format!("\nNew migrations available:\n  silverback: {}", state.additions.join(", ")))?;
        options.say("\nRun 'silverback migrations up' to proceed")?;
    }
    if state.is_too_old {
        options.say(
            "\nNew migrations available: the database is of a Kong before 3.9; run 'kong migrations up' of 3.9 or 3.10",
        )?;
    }
    outcome(state)
}

fn outcome(state: &State) -> anyhow::Result<()> {
    let code = match state {
        state if state.needs_bootstrap() => NEEDS_BOOTSTRAP,
        state if state.is_too_old || !state.additions.is_empty() => NEW,
        state if !state.pending.is_empty() => PENDING,
        _ => return Ok(()),
    };
    Err(Exit(ExitCode::from(code)).into())
}

fn status(options: &Options, state: &State) -> anyhow::Result<()> {
    let subsystems = |list: &[(String, Vec<String>)]| -> Vec<_> {
        list.iter()
            .map(|(subsystem, names)| serde_json::json!({ "subsystem": subsystem, "migrations": names }))
            .collect()
    };
    let new: Vec<_> = match state.additions.as_slice() {
        [] => Vec::new(),
        additions => vec![serde_json::json!({ "subsystem": "silverback", "migrations": additions })],
    };
    let shown = serde_json::json!({
        "needs_bootstrap": state.needs_bootstrap(),
        "executed_migrations": subsystems(&state.executed),
        "pending_migrations": subsystems(&state.pending),
        "new_migrations": new,
    });
    options.say(&serde_json::to_string_pretty(&shown)?)?;
    outcome(state)
}

fn reset(options: &Options, store: &Postgres, state: &State) -> anyhow::Result<()> {
    if state.needs_bootstrap() && !options.force {
        options.say("Database not bootstrapped, nothing to reset")?;
        return Err(Exit(ExitCode::FAILURE).into());
    }
    if !options.yes {
        if !io::stdin().is_terminal() {
            bail!("not a terminal: 'silverback migrations reset' asks whether you mean it; --yes says so");
        }
        write!(io::stdout(), "> Are you sure? This operation is irreversible. [Y/n] ")?;
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "" | "y" | "Y" | "yes") {
            options.say("cancelled")?;
            return Err(Exit(ExitCode::FAILURE).into());
        }
    }
    options.say("Resetting database...")?;
    store.migrations().reset()?;
    Ok(options.say("Database successfully reset")?)
}
