//! `make conformance`: plays the recorded cases of Kong (../shared/conformance) against the gateway, on private ports,
//! one fresh gateway for each configuration that the cases need.
//!
//! Which areas are played, and which cases are left out and why, stands in xtask/conformance/.

mod names;
mod plan;
#[cfg(test)]
mod tests;

use crate::gateway::{Gateway, Setting};
use crate::postgres::Postgres;
use crate::process::Running;
use crate::project;
use anyhow::{Context, Result, bail, ensure};
use plan::{Configuration, Plan};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(10);
/// The cases name these addresses themselves.
const ECHO: &str = "127.0.0.1:15555";
const SINK: &str = "127.0.0.1:15560";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Areas to play (proxy_raw, plugin_key-auth, ...), also those that are not played by default
    areas: Vec<String>,
    /// Play every area, for information
    #[arg(long)]
    all: bool,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// How many differing cases to print for each configuration
    #[arg(long, default_value_t = 20)]
    show: u32,
    /// Also play the cases of skip.txt and those in which Kong is known to be wrong
    #[arg(long)]
    with_faults: bool,
    /// The gateway's program; built if not given
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The cargo profile to build with
    #[arg(long, default_value = "dev")]
    profile: String,
    /// How many gateways play at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Keep the configuration in PostgreSQL instead of the embedded database; cases of a node without a database are left out
    #[arg(long, value_parser = ["embedded", "postgres"], default_value = "embedded")]
    database: String,
    /// Seconds from a change to the next proxied request: 0 holds the gateway to "visible when it is answered"
    #[arg(long, default_value_t = 0.0)]
    settle: f64,
}

/// Closing counts of a player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let recorded = project::recorded_cases();
    ensure!(recorded.join("conform.py").exists(), "the recorded cases are not here ({})", recorded.display());
    let scratch = project::scratch("conformance")?;
    let plan = Plan::make(&recorded.join("cases"), options, &scratch)?;
    ensure!(!plan.parts.is_empty(), "no case is chosen");
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("no program at {}", path.display()))?,
        None => project::build_gateway(&options.profile)?,
    };

    let _echo = start_python(&recorded.join("echo.py"), ECHO, &scratch)?;
    let _sink = start_python(&recorded.join("sink.py"), SINK, &scratch)?;
    let resolver = names::Resolver::start()?;
    let postgres = match options.database.as_str() {
        "postgres" => {
            Some(Postgres::start(&std::env::temp_dir().join(format!("silverback-cases-{}", std::process::id())))?)
        }
        _ => None,
    };
    let (names, postgres) = (resolver.address, postgres.as_ref());
    let player = Player { options, recorded: &recorded, binary: &binary, scratch: &scratch, names, postgres };

    // The longest first, so that the last to end is a short one.
    let waiting = Mutex::new(plan.parts.iter().rev().collect::<Vec<_>>());
    let total = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let Ok(Some(part)) = waiting.lock().map(|mut parts| parts.pop()) else { return };
                    let counts = player.play(part).unwrap_or_else(|error| {
                        println!("{}: {error:#}", part.configuration.name);
                        Counts { failed: part.cases, ..Counts::default() }
                    });
                    if let Ok(mut total) = total.lock() {
                        total.add(counts);
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_default();
    for (reason, count) in &plan.left_out {
        println!("left out: {count} ({reason})");
    }
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped + plan.left_out_cases());
    if total.failed > 0 {
        bail!("{} cases differ from what is recorded; the gateways' logs are in {}", total.failed, scratch.display());
    }
    Ok(())
}

struct Player<'a> {
    options: &'a Options,
    recorded: &'a Path,
    binary: &'a Path,
    scratch: &'a Path,
    names: SocketAddr,
    postgres: Option<&'a Postgres>,
}

impl Player<'_> {
    /// Starts the gateway of one configuration and plays its cases.
    fn play(&self, part: &plan::Part) -> Result<Counts> {
        let folder = self.scratch.join(part.configuration.name).join("gateway");
        std::fs::create_dir_all(&folder)?;
        let properties = self.properties(part.configuration);
        let setting = Setting { binary: self.binary, folder: &folder, properties: &properties, core: None };
        if self.postgres.is_some() {
            Gateway::migrate(&setting)?;
        }
        let mut gateway = Gateway::start(&setting)?;
        let ports = gateway.ports;
        let output = Command::new("python3")
            .arg(self.recorded.join("conform.py"))
            .arg("check")
            .args(&part.files)
            .args(["--admin", &ports.admin.to_string(), "--proxy", &ports.proxy.to_string()])
            .args(["--tls", &ports.tls.to_string(), "--settle", &self.options.settle.to_string()])
            .args(["--show", &self.options.show.to_string(), "--only", &self.options.only])
            .args(part.configuration.told.iter().flat_map(|(name, value)| ["--have".into(), format!("{name}={value}")]))
            .output()
            .context("cannot run python3")?;
        let said = String::from_utf8_lossy(&output.stdout);
        print!("[{}]\n{}", part.configuration.name, said);
        let errors = String::from_utf8_lossy(&output.stderr);
        let counts = said.lines().rev().find_map(counts).with_context(|| format!("the player stopped: {errors}"))?;
        gateway.running.fail_if_ended()?;
        // The plan gave each configuration its own cases: one that the player left out would go unnoticed for ever.
        ensure!(
            counts.skipped == 0,
            "{} cases were not played: `GET /` of the Admin API does not tell the configuration they need",
            counts.skipped
        );
        Ok(counts)
    }

    fn properties(&self, configuration: &Configuration) -> Vec<(&'static str, String)> {
        let mut properties: Vec<_> = configuration.properties.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        if configuration.own_names {
            properties.push(("dns_resolver", self.names.to_string()));
        }
        if let Some(postgres) = self.postgres {
            properties.extend(postgres.properties(configuration.name));
        }
        // A thread keeps its own connections to upstreams: with several, how often a closed one is met is chance.
        properties.push(("nginx_worker_processes", "1".to_owned()));
        properties
    }
}

fn start_python(script: &Path, at: &str, scratch: &Path) -> Result<Running> {
    let name = script.file_stem().unwrap_or_default().to_string_lossy();
    let at: SocketAddr = at.parse()?;
    ensure!(
        std::net::TcpListener::bind(at).is_ok(),
        "something listens on {at} already, where {name}.py must: end it and try again"
    );
    let mut command = Command::new("python3");
    command.arg("-B").arg(script);
    let mut running = Running::start(&name, command, &scratch.join(format!("{name}.log")))?;
    running.wait_until_listening(at, START_LIMIT)?;
    Ok(running)
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Reads `12 passed, 0 failed, 3 skipped`.
fn counts(line: &str) -> Option<Counts> {
    let mut numbers = [0; 3];
    let mut parts = line.split(", ");
    for (number, word) in numbers.iter_mut().zip(["passed", "failed", "skipped"]) {
        *number = parts.next()?.strip_suffix(word)?.trim().parse().ok()?;
    }
    let [passed, failed, skipped] = numbers;
    Some(Counts { passed, failed, skipped })
}
