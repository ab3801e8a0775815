//! `make bench`: the gateway against nginx on this machine, in one run, so that the ratio means something.
//!
//! Each proxy has core 0 for itself, load and upstream share core 1. Both proxies of a case run throughout it and are
//! measured in turn, round by round. Everything is configured into a scratch folder.

mod access;
mod admin;
mod changes;
mod load;
mod machine;
mod memory;
mod nginx;
mod proxies;
mod reload;
mod report;
mod side_by_side;
mod soak;
mod start;
#[cfg(test)]
mod tests;
mod traffic;
mod traffic_plugins;

use crate::{process, project};
use anyhow::{Context, Result, bail, ensure};
use proxies::{Bench, Candidate};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The core of the proxy that is measured; the other one is for load and upstream.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure: the names of cases, `memory`, `start`, `reload`; everything if none is given. `traffic-plugins/http-log`
    /// is one of that measurement's cases
    names: Vec<String>,
    /// List what can be measured
    #[arg(long)]
    list: bool,
    /// How often each case is measured; the medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in a round [default: 3, and what is asked for where it takes longer: 60 for `changes`, 20 for `replace`,
    /// 5 minutes in all for `traffic-plugins/sink-down`]
    #[arg(long)]
    seconds: Option<u64>,
    /// Connections of the load generator
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long the soak takes
    #[arg(long, default_value_t = 24)]
    minutes: u32,
    /// The program to measure instead of a new build, or `nginx`: then the bench measures its own error
    #[arg(long, value_name = "PATH|nginx")]
    candidate: Option<String>,
    /// The cargo profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Both proxies without access logs, instead of both with buffered ones
    #[arg(long)]
    no_access_log: bool,
    /// Where to write the figures [default: bench/results/<seconds since 1970>.json]
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Takes as long as it is told to: measured only where it is named.
const SOAK: &str = "soak";

/// Its cases may be named one by one.
const PLUGINS: &str = "traffic-plugins";

/// A name, what it measures, and what does.
type Measurement = (&'static str, &'static str, fn(&Bench) -> Result<Value>);

/// Measurements that are not traffic under load.
const OTHERS: [Measurement; 11] = [
    ("memory", "resident memory: idle, and of 10,000 idle keep-alive connections", memory::measure),
    ("start", "from start to the first proxied answer, with 1,000 routes", start::measure),
    (
        "access",
        "what plugins of authentication and access add to a request; others beside slow logins",
        access::measure,
    ),
    ("admin", "creates a second through the Admin API, durable each, on one connection and on eight", admin::measure),
    ("consumers", "a million consumers with a key each: start, memory, and one more of them", admin::measure_many),
    ("many-routes", "100,000 routes from a kong.yml: how long, how much memory", changes::measure_start),
    ("changes", "50 route changes a second at 100,000 routes under load", changes::measure),
    ("replace", "POST /config of 20,000 routes under load", changes::measure_replace),
    (SOAK, "mixed plugins, changes and clients that come and go for --minutes: memory", soak::measure),
    (PLUGINS, "what plugins of traffic, cache, logs, metrics and traces cost", traffic_plugins::measure),
    ("reload", "50,000 requests during reloads and an upgrade of the binary; a killed worker", reload::measure),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        let cases = traffic::CASES.iter().map(|case| (case.name, case.about));
        for (name, about) in cases.chain(OTHERS.map(|(name, about, _)| (name, about))) {
            println!("{name:18} {about}");
        }
        return Ok(());
    }
    let known = |name: &String| {
        traffic::CASES.iter().any(|c| c.name == *name)
            || OTHERS.iter().any(|o| o.0 == *name)
            || name.strip_prefix(PLUGINS).and_then(|name| name.strip_prefix('/')).is_some_and(traffic_plugins::has)
    };
    if let Some(name) = options.names.iter().find(|name| !known(name)) {
        bail!("nothing to measure is named {name}: see `make bench ARGS=--list`");
    }
    ensure!(options.rounds > 0 && options.seconds != Some(0), "at least one round of one second");
    machine::install_tools()?;
    process::raise_open_files()?;
    let bench = Bench {
        candidate: candidate(options)?,
        scratch: project::scratch("bench")?,
        rounds: options.rounds,
        time: options.seconds.map(Duration::from_secs),
        connections: options.connections,
        access_log: !options.no_access_log,
        minutes: options.minutes,
        plugins: options
            .names
            .iter()
            .filter_map(|name| Some(name.strip_prefix(PLUGINS)?.strip_prefix('/')?.to_owned()))
            .collect(),
    };
    let wanted = |name: &str| {
        let is_it = |asked: &String| asked == name || (name == PLUGINS && asked.starts_with(&format!("{PLUGINS}/")));
        options.names.is_empty() || options.names.iter().any(is_it)
    };
    let mut results = Map::new();
    let cases: Vec<_> = traffic::CASES.iter().filter(|case| wanted(case.name)).collect();
    println!("{}", machine::describe(&bench));
    if !cases.is_empty() {
        results.insert("traffic".into(), traffic::measure(&bench, &cases)?);
    }
    let is_asked = |name: &str| wanted(name) && (name != SOAK || !options.names.is_empty());
    for (name, _, measure) in OTHERS.iter().filter(|(name, ..)| is_asked(name)) {
        // One measurement that cannot be made must not take the others with it.
        let figures = measure(&bench).unwrap_or_else(|error| {
            println!("{name}: not measured: {error:#}");
            json!({ "error": format!("{error:#}") })
        });
        results.insert((*name).into(), figures);
    }
    results.insert("machine".into(), machine::facts());
    results.insert("candidate".into(), json!(bench.candidate.name()));
    write_results(options.json.as_deref(), &Value::Object(results))
}

fn candidate(options: &Options) -> Result<Candidate> {
    match options.candidate.as_deref() {
        Some("nginx") => Ok(Candidate::Nginx),
        Some(path) => {
            let path = Path::new(path).canonicalize().with_context(|| format!("no program at {path}"))?;
            Ok(Candidate::Gateway(path))
        }
        None => {
            println!("building the gateway ({})", options.profile);
            Ok(Candidate::Gateway(project::build_gateway(&options.profile)?))
        }
    }
}

fn write_results(to: Option<&Path>, results: &Value) -> Result<()> {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let path = match to {
        Some(path) => path.to_path_buf(),
        None => project::root().join(format!("bench/results/{seconds}.json")),
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    project::write(&path, serde_json::to_string_pretty(results)? + "\n")?;
    println!("figures: {}", path.display());
    Ok(())
}
