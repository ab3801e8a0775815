//! Resident memory: of an idle proxy, and what 10,000 idle keep-alive connections add to it.

use super::nginx;
use super::proxies::{Bench, Candidate, Certificate, Proxy, Task};
use crate::client::Connection;
use crate::process::Memory;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

const CONNECTIONS: usize = 10_000;
/// Buffers may be given back a little later than the answer is sent.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let certificate = Certificate::make(&bench.scratch)?;
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let folder = bench.scratch.join("memory");
    println!("memory: resident (proportional) in MB, over all processes");
    let mut results = Vec::new();
    for name in ["nginx", "candidate"] {
        let proxy = match name {
            "nginx" => bench.start_nginx(&folder.join(name), upstream, &certificate)?,
            _ => bench.start_candidate(&folder.join(name), Task::Routes(1), upstream, &certificate)?,
        };
        let goals = name == "candidate" && matches!(bench.candidate, Candidate::Gateway(_));
        results.push((name.to_owned(), measure_one(name, &proxy, goals)?));
    }
    Ok(Value::Object(results.into_iter().collect()))
}

fn measure_one(name: &str, proxy: &Proxy, goals: bool) -> Result<Value> {
    std::thread::sleep(SETTLE);
    let idle = proxy.running.memory();
    let (processes, threads) = proxy.running.family_size();
    let mut held = Vec::with_capacity(CONNECTIONS);
    for n in 0..CONNECTIONS {
        let mut connection = Connection::open(proxy.http).with_context(|| format!("connection {n}"))?;
        let answer = connection.ask("GET", "/", &[], b"").with_context(|| format!("connection {n}"))?;
        ensure!(answer.status == 200 && !answer.closes(), "connection {n} is not kept: {}", answer.status);
        held.push(connection);
    }
    std::thread::sleep(SETTLE);
    let full = proxy.running.memory();
    for connection in held.iter_mut().step_by(1_000) {
        ensure!(connection.ask("GET", "/", &[], b"")?.status == 200, "an idle connection no longer answers");
    }
    let each = full.resident.saturating_sub(idle.resident) as f64 / CONNECTIONS as f64;
    let megabytes = |memory: Memory| (memory.resident as f64 / 1024.0, memory.proportional as f64 / 1024.0);
    let ((rss, pss), (full_rss, full_pss)) = (megabytes(idle), megabytes(full));
    let verdict = |met: bool, goal: &str| match (goals, met) {
        (false, _) => String::new(),
        (true, true) => format!(" (goal {goal}: met)"),
        (true, false) => format!(" (goal {goal}: MISSED)"),
    };
    println!(
        "  {name:10} {processes} processes, {threads} threads: idle {rss:.1} ({pss:.1}){}; \
         with {CONNECTIONS} connections {full_rss:.1} ({full_pss:.1}): {each:.2} KB each{}",
        verdict(rss <= 20.0, "20 MB"),
        verdict(each <= 4.0, "4 KB"),
    );
    let figures = |memory: Memory| json!({ "resident_kib": memory.resident, "proportional_kib": memory.proportional, "peak_kib": memory.peak });
    Ok(json!({
        "processes": processes,
        "threads": threads,
        "idle": figures(idle),
        "with_connections": figures(full),
        "connections": CONNECTIONS,
        "kib_per_connection": each,
    }))
}
