//! The load generators: wrk for HTTP/1.1, h2load for HTTP/2. Both run on the core beside the proxy's.

use super::LOAD_CORE;
use super::proxies::{Bench, Proxy};
use crate::process::pinned;
use crate::project;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// HTTP/1.1 over kept connections: the same request again and again.
    Get { path: &'static str, tls: bool, header: Option<&'static str> },
    /// A new TLS connection for every request.
    Handshakes,
    /// `/r<n>/x` with a random n below the count.
    Spread { count: usize },
    /// Requests to the first `count` of the mixed routes, 10,000 different ones.
    Mixed { count: usize },
    /// A body of 1 MiB in every request.
    Upload,
    /// HTTP/2 over TLS: many requests at a time on few connections.
    Http2,
}

/// What a load generator counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) half: Duration,
    pub(super) p99: Duration,
}

/// Sends the load for a while and says what was answered; an answer other than 2xx or a broken connection is an error.
pub(super) fn send(bench: &Bench, load: Load, to: &Proxy, time: Duration, folder: &Path) -> Result<Answered> {
    match load {
        Load::Http2 => h2load(to, time, folder),
        _ => wrk(bench, load, to, time, folder),
    }
}

fn wrk(bench: &Bench, load: Load, to: &Proxy, time: Duration, folder: &Path) -> Result<Answered> {
    let (http, tls) = (format!("http://{}", to.http), format!("https://{}", to.tls));
    let mut command = pinned(LOAD_CORE, Path::new("wrk"));
    command.args(["-t1", &format!("-c{}", bench.connections), &format!("-d{}s", time.as_secs()), "--latency"]);
    let script = folder.join("load.lua");
    match load {
        Load::Get { path, tls: over_tls, header } => {
            command.args(header.iter().flat_map(|header| ["-H", header]));
            command.arg(format!("{}{path}", if over_tls { &tls } else { &http }));
        }
        Load::Handshakes => {
            command.args(["-H", "Connection: close", &tls]);
        }
        Load::Spread { count } => {
            // The requests are made once: the generator shares its core with the upstream.
            let lua = format!(
                "local made = {{}}\n\
                 function init()\n  for n = 1, {count} do made[n] = wrk.format('GET', '/r' .. (n - 1) .. '/x') end\nend\n\
                 function request() return made[math.random({count})] end\n"
            );
            project::write(&script, lua)?;
            command.arg("-s").arg(&script).arg(&http);
        }
        Load::Mixed { count } => {
            let lua = format!(
                "local made = {{}}\n\
                 function init()\n  for at = 1, 10000 do\n    local n = math.random(0, {count} - 1)\n    \
                 local headers = n % 4 == 1 and {{ Host = 'h' .. n .. '.test' }} or {{ Host = 'localhost' }}\n    \
                 made[at] = wrk.format('GET', '/r' .. n .. '/x', headers)\n  end\nend\n\
                 function request() return made[math.random(10000)] end\n"
            );
            project::write(&script, lua)?;
            command.arg("-s").arg(&script).arg(&http);
        }
        Load::Upload => {
            let size = super::nginx::BIG_BODY;
            project::write(&script, format!("wrk.method = 'POST'\nwrk.body = string.rep('x', {size})\n"))?;
            command.arg("-s").arg(&script).arg(&http);
        }
        Load::Http2 => bail!("wrk does not speak HTTP/2"),
    }
    let said = output(command, "wrk")?;
    read_wrk(&said).with_context(|| format!("wrk said:\n{said}"))
}

fn h2load(to: &Proxy, time: Duration, folder: &Path) -> Result<Answered> {
    let log = folder.join("h2load.log");
    if log.exists() {
        std::fs::remove_file(&log)?;
    }
    let mut command = pinned(LOAD_CORE, Path::new("h2load"));
    command.args(["-t1", "-c8", "-m16", "-D", &time.as_secs().to_string(), "--log-file"]).arg(&log);
    command.arg(format!("https://{}/", to.tls));
    let said = output(command, "h2load")?;
    read_h2load(&said, &project::read(&log)?, time).with_context(|| format!("h2load said:\n{said}"))
}

fn output(mut command: Command, name: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name} failed: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

pub(super) fn read_wrk(said: &str) -> Result<Answered> {
    for line in said.lines().map(str::trim) {
        if line.starts_with("Non-2xx") || line.starts_with("Socket errors") {
            bail!("not every request was answered well: {line}");
        }
    }
    let after = |start: &str| said.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let count =
        said.lines().find_map(|line| line.trim().split_once(" requests in ")).context("no count of requests")?.0;
    Ok(Answered {
        requests: count.parse()?,
        per_second: after("Requests/sec:").context("no rate")?.parse()?,
        half: duration(after("50%").context("no median")?)?,
        p99: duration(after("99%").context("no 99th percentile")?)?,
    })
}

/// The log has a line a request: start in microseconds, status, microseconds it took.
pub(super) fn read_h2load(said: &str, log: &str, time: Duration) -> Result<Answered> {
    let counts = said.lines().find_map(|line| line.strip_prefix("requests: ")).context("no counts")?;
    let count =
        |name: &str| counts.split(", ").find_map(|c| c.strip_suffix(name)).and_then(|n| n.trim().parse::<u64>().ok());
    let (done, failed) = (count("done").context("no count of requests")?, count("failed").context("no failures")?);
    ensure!(failed == 0, "{failed} of {done} requests failed");
    let mut times = Vec::new();
    for line in log.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, status, micros] = fields[..] else { bail!("not a log line: {line}") };
        ensure!(status.starts_with('2'), "a request was answered {status}");
        times.push(micros.parse::<u64>()?);
    }
    ensure!(done > 0 && !times.is_empty(), "nothing was answered");
    times.sort_unstable();
    let at = |part: usize| Duration::from_micros(times.get(times.len() * part / 100).copied().unwrap_or_default());
    Ok(Answered { requests: done, per_second: done as f64 / time.as_secs_f64(), half: at(50), p99: at(99) })
}

/// `1.23ms`, `45.00us`, `1.02s`.
fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).context("a time without a unit")?);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => bail!("not a time: {text}"),
    };
    Ok(Duration::from_secs_f64(number.parse::<f64>()? * seconds))
}
