//! What the bench runs on: the programs it needs, installed where missing, and the facts that belong to a figure.

use super::proxies::Bench;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// Programs and the Debian packages that bring them.
const TOOLS: [(&str, &str); 6] = [
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("openssl", "openssl"),
    ("redis-server", "redis-server"),
    ("taskset", "util-linux"),
];

pub(super) fn install_tools() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "the bench needs two cores: one for the proxy, one for the load");
    let missing: Vec<&str> = TOOLS.iter().filter(|(program, _)| !is_installed(program)).map(|(_, p)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    // A package list may be missing on a new machine; an old one may do.
    let _ = apt_get(&["update"]);
    // The distribution would start nginx as a service; only our own configuration may run here.
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    if !apt_get(&install)? {
        bail!("apt-get cannot install {}: install them by hand and try again", missing.join(" "));
    }
    // Where the package did start it, the service has the machine's port 80 and nothing of ours.
    if missing.contains(&"nginx-light") {
        let _ = Command::new("service").args(["nginx", "stop"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<bool> {
    let mut command = Command::new("apt-get");
    command.args(arguments).arg("-qq").env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    Ok(command.status().context("cannot run apt-get")?.success())
}

fn is_installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The conditions of the run, printed above its figures.
pub(super) fn describe(bench: &Bench) -> String {
    let logs = if bench.access_log { "both proxies write access logs, buffered" } else { "no access logs" };
    format!(
        "candidate: {}; nginx: one worker; the gateway: one worker thread; {} rounds of {:?}, {} connections; {logs}",
        bench.candidate.name(),
        bench.rounds,
        bench.time(),
        bench.connections,
    )
}

pub(super) fn facts() -> Value {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "nginx": version("nginx", "-v"),
        "wrk": version("wrk", "-v"),
    })
}

/// The first line a program says of itself, on whichever output.
fn version(program: &str, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
