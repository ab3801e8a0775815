//! The Admin API under load, on the embedded store: consumers created a second, each durable and visible when it is
//! answered; and a configuration of many consumers with a key each: loaded, started from, and added to.

use super::proxies::Bench;
use super::report::median;
use crate::client::Connection;
use crate::gateway::{Gateway, Setting};
use crate::project;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const CREATES: usize = 4_000;
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];
/// Connections, and the goal in creates a second.
const GOALS: [(usize, f64); 2] = [(1, 1_000.0), (8, 5_000.0)];
/// A file system in memory: what the program itself can do, where flushing costs nothing.
const MEMORY: &str = "/dev/shm";
const FLUSHES: usize = 100;

fn start(bench: &Bench, folder: &Path) -> Result<Gateway> {
    std::fs::create_dir_all(folder)?;
    let properties = [("admin_access_log", "off".to_owned()), ("nginx_admin_client_max_body_size", "64m".to_owned())];
    Gateway::start(&Setting { binary: bench.candidate.gateway()?, folder, properties: &properties, core: None })
}

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let in_memory = Path::new(MEMORY).join(format!("silverback-bench-{}", std::process::id()));
    let places = [("on disk", bench.scratch.clone()), ("in memory", in_memory.clone())];
    let mut results = Vec::new();
    for (place, folder) in places {
        std::fs::create_dir_all(&folder)?;
        let flush = flush(&folder)?;
        println!("admin: {place}, a flush takes {:.2} ms", flush * 1e3);
        for (connections, goal) in GOALS {
            let mut rates = Vec::new();
            for round in 0..bench.rounds {
                let gateway = start(bench, &folder.join(format!("admin-{connections}-{round}")))?;
                rates.push(creates(gateway.ports.admin, connections)?);
            }
            let rate = median(rates.iter().copied());
            // Who waits for a flush before each next create cannot do more.
            let most = connections as f64 / flush;
            let verdict = match (rate >= goal, most < goal) {
                (true, _) => "met",
                (false, true) => "more than the disk flushes",
                (false, false) => "MISSED",
            };
            println!(
                "admin: {place}, {rate:.0} creates a second on {connections} connections (goal {goal:.0}: {verdict}; \
                 the disk flushes for {most:.0})"
            );
            results.push(json!({
                "place": place, "flush_ms": flush * 1e3, "connections": connections, "creates_per_second": rates, "goal": goal,
            }));
        }
    }
    std::fs::remove_dir_all(&in_memory)?;
    Ok(json!({ "creates": results }))
}

/// Seconds that the disk takes to flush what a commit writes.
fn flush(folder: &Path) -> Result<f64> {
    let path: PathBuf = folder.join("flushed");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        file.write_all(&[1; 16 * 1024])?;
        let begin = Instant::now();
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    std::fs::remove_file(path)?;
    Ok(median(times.iter().copied()))
}

/// Consumers created a second.
fn creates(at: SocketAddr, connections: usize) -> Result<f64> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|thread| {
                scope.spawn(move || -> Result<()> {
                    let mut connection = Connection::open(at)?;
                    for n in 0..CREATES / connections {
                        let body = format!("{{\"username\":\"c{thread}-{n}\"}}");
                        let answer = connection.ask("POST", "/consumers", &JSON, body.as_bytes())?;
                        ensure!(answer.status == 201, "a create was answered {}", answer.status);
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })?;
    Ok(CREATES as f64 / begin.elapsed().as_secs_f64())
}

const CONSUMERS: usize = 1_000_000;
const BATCH: usize = 10_000;

/// A million consumers with a key each.
pub(super) fn measure_many(bench: &Bench) -> Result<Value> {
    let folder = bench.scratch.join("consumers");
    let gateway = start(bench, &folder)?;
    let mut connection = Connection::open(gateway.ports.admin)?;
    let ready = json!({ "operations": [
        { "method": "PUT", "path": "/routes/r", "body": { "paths": ["/"] } },
        { "method": "POST", "path": "/routes/r/plugins", "body": { "name": "key-auth" } },
        { "method": "POST", "path": "/routes/r/plugins", "body": { "name": "request-termination" } },
    ] });
    batch(&mut connection, &ready)?;
    let begin = Instant::now();
    for first in (0..CONSUMERS).step_by(BATCH) {
        let operations: Vec<Value> = (first..first + BATCH)
            .flat_map(|n| {
                let consumer =
                    json!({ "method": "POST", "path": "/consumers", "body": { "username": format!("c{n}") } });
                let path = format!("/consumers/c{n}/key-auth");
                let key = json!({ "method": "POST", "path": path, "body": { "key": format!("key-of-{n}") } });
                [consumer, key]
            })
            .collect();
        batch(&mut connection, &json!({ "operations": operations }))?;
    }
    let filled = begin.elapsed();
    drop((connection, gateway));
    let begin = Instant::now();
    let gateway = start(bench, &folder)?;
    let started = begin.elapsed();
    let resident = gateway.running.memory().resident as f64 / 1024.0;
    let mut added = Vec::new();
    let mut connection = Connection::open(gateway.ports.admin)?;
    for n in 0..20 {
        let begin = Instant::now();
        let body = format!("{{\"username\":\"more-{n}\"}}");
        let answer = connection.ask("POST", "/consumers", &JSON, body.as_bytes())?;
        ensure!(answer.status == 201, "a create was answered {}", answer.status);
        added.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let mut proxied = Connection::open(gateway.ports.proxy)?;
    let answer = proxied.ask("GET", "/", &[("apikey", "key-of-777777")], b"")?;
    ensure!(answer.status == 503, "the key of a consumer was answered {}", answer.status);
    let added = median(added.iter().copied());
    let told = |name: &str, figure: f64, unit: &str, goal: f64| {
        let verdict = if figure <= goal { "met" } else { "MISSED" };
        println!("consumers: {name} {figure:.1} {unit} (goal {goal} {unit}: {verdict})");
    };
    let looked_up = look_ups()?;
    println!("consumers: {CONSUMERS} with a key each written by batches in {:.1} s", filled.as_secs_f64());
    told("started from the store in", started.as_secs_f64(), "s", 60.0);
    told("resident memory", resident, "MB", 700.0);
    told("one more is visible in", added, "ms", 20.0);
    told("a look-up by key takes", looked_up["look_up_ns"].as_f64().unwrap_or(f64::NAN), "ns", 2_000.0);
    Ok(json!({
        "consumers": CONSUMERS,
        "written_seconds": filled.as_secs_f64(),
        "started_seconds": started.as_secs_f64(),
        "resident_mb": resident,
        "added_ms": added,
        "look_ups": looked_up,
    }))
}

/// What a look-up costs by itself: over the network it is lost in the noise.
fn look_ups() -> Result<Value> {
    let program = project::build("quick", "--example", "look_ups")?;
    let output = Command::new(program).output().context("cannot run the example look_ups")?;
    ensure!(output.status.success(), "the look-ups failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the look-ups told no figures")
}

fn batch(connection: &mut Connection, operations: &Value) -> Result<()> {
    let answer = connection.ask("POST", "/batch", &JSON, operations.to_string().as_bytes())?;
    let said = || String::from_utf8_lossy(&answer.body).chars().take(500).collect::<String>();
    ensure!(answer.status == 200, "a batch was answered {}: {}", answer.status, said());
    Ok(())
}
