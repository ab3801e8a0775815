//! 100,000 routes that change while requests come: what a start, a change and a whole new configuration cost.

use super::load::{self, Answered, Load};
use super::nginx;
use super::proxies::{Bench, Proxy, Task, declarative, mixed};
use super::report::median;
use super::{LOAD_CORE, PROXY_CORE};
use crate::client::Connection;
use crate::gateway::{Gateway, Setting};
use crate::process::pin_thread;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) const ROUTES: usize = 100_000;
/// Routes of a configuration that replaces another.
const REPLACED: usize = 20_000;
const CHANGES_A_SECOND: u32 = 50;
const BATCH: usize = 5_000;
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// Prints a figure beside its goal.
pub(super) fn told(what: &str, figure: f64, unit: &str, goal: f64) {
    let verdict = if figure <= goal { "met" } else { "MISSED" };
    println!("{what}: {figure:.2} {unit} (goal {goal} {unit}: {verdict})");
}

fn megabytes(proxy: &Proxy) -> f64 {
    proxy.running.memory().resident as f64 / 1024.0
}

/// A gateway as the load generators know it, and its Admin API's address.
fn proxy(gateway: Gateway) -> (Proxy, SocketAddr) {
    let Gateway { running, ports, .. } = gateway;
    (Proxy { running, http: ports.proxy, tls: ports.tls }, ports.admin)
}

/// A gateway on its core, with one worker thread.
pub(super) fn start(bench: &Bench, folder: &Path, more: &[(&'static str, String)]) -> Result<Gateway> {
    std::fs::create_dir_all(folder)?;
    let mut properties = vec![
        ("admin_access_log", "off".to_owned()),
        ("proxy_access_log", "off".to_owned()),
        ("nginx_worker_processes", "1".to_owned()),
        ("nginx_admin_client_max_body_size", "64m".to_owned()),
    ];
    properties.extend_from_slice(more);
    let binary = bench.candidate.gateway()?;
    Gateway::start(&Setting { binary, folder, properties: &properties, core: Some(PROXY_CORE) })
}

/// `database = off` with a file.
fn start_from_file(bench: &Bench, folder: &Path, text: &str) -> Result<Gateway> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("kong.yml");
    crate::project::write(&file, text)?;
    start(bench, folder, &[("database", "off".to_owned()), ("declarative_config", file.display().to_string())])
}

/// How long a file of 100,000 routes takes, and how much memory.
pub(super) fn measure_start(bench: &Bench) -> Result<Value> {
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let text = declarative(Task::Mixed(ROUTES), upstream);
    let (mut seconds, mut resident, mut proportional) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(3) {
        let begin = Instant::now();
        let gateway = start_from_file(bench, &bench.scratch.join("many-routes"), &text)?;
        seconds.push(begin.elapsed().as_secs_f64());
        // What is freed is given back to the system a little later.
        std::thread::sleep(Duration::from_secs(3));
        let memory = gateway.running.memory();
        resident.push(memory.resident as f64 / 1024.0);
        proportional.push(memory.proportional as f64 / 1024.0);
    }
    let [seconds, resident, proportional] = [seconds, resident, proportional].map(|all| median(all.into_iter()));
    told(&format!("{ROUTES} routes started from kong.yml in"), seconds, "s", 3.0);
    told("resident memory, all processes", resident, "MB", 120.0);
    println!("  ({proportional:.1} MB with shared pages counted once)");
    Ok(json!({ "routes": ROUTES, "seconds": seconds, "resident_mb": resident, "proportional_mb": proportional }))
}

/// 100,000 routes in the embedded store, which are then changed one by one under load.
pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let folder = bench.scratch.join("changes");
    let time = bench.time_or(60);
    let gateway = start(bench, &folder, &[])?;
    fill(gateway.ports.admin, upstream)?;
    drop(gateway);
    let (proxy, admin) = proxy(start(bench, &folder, &[])?);
    let load = Load::Mixed { count: ROUTES };
    load::send(bench, load, &proxy, Duration::from_secs(1), &folder)?;
    let quiet = load::send(bench, load, &proxy, time, &folder)?;
    let before = megabytes(&proxy);
    let (changed, seen) = std::thread::scope(|scope| {
        let changer = scope.spawn(|| change_routes(admin, proxy.http, time));
        let sent = load::send(bench, load, &proxy, time, &folder);
        (sent, changer.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    });
    let (changed, mut seen) = (changed?, seen?);
    // What changes leave behind is given back once they rest.
    std::thread::sleep(Duration::from_secs(20));
    let after = megabytes(&proxy);
    seen.sort_by(f64::total_cmp);
    let slowest = seen.last().copied().unwrap_or(f64::NAN);
    let p99 = |one: &Answered| one.p99.as_secs_f64() * 1e3;
    println!("{} changes at {ROUTES} routes under load, each answered and then asked for", seen.len());
    let at_once = seen.iter().filter(|ms| **ms == 0.0).count();
    println!("  {at_once} of them were there for the very next request");
    told("  the slowest was there for a request sent after its answer by", slowest, "ms", 20.0);
    told("  p99 beside the quiet one", p99(&changed) / p99(&quiet), "x", 1.2);
    println!("  p99 {:.2} ms quiet, {:.2} ms changing", p99(&quiet), p99(&changed));
    println!("  {:.0} requests/s quiet, {:.0} changing", quiet.per_second, changed.per_second);
    told("  memory afterwards beside before", after / before, "x", 1.1);
    Ok(json!({
        "changes": seen.len(),
        "visible_ms": { "median": median(seen.iter().copied()), "slowest": slowest },
        "p99_ms": { "quiet": p99(&quiet), "changing": p99(&changed) },
        "memory_mb": { "before": before, "after": after },
    }))
}

fn batch(connection: &mut Connection, operations: &[Value]) -> Result<()> {
    let body = json!({ "operations": operations }).to_string();
    let answer = connection.ask("POST", "/batch", &JSON, body.as_bytes())?;
    let said = || String::from_utf8_lossy(&answer.body).chars().take(500).collect::<String>();
    ensure!(answer.status == 200, "a batch was answered {}: {}", answer.status, said());
    Ok(())
}

fn fill(admin: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let begin = Instant::now();
    let mut connection = Connection::open(admin)?;
    for first in (0..ROUTES).step_by(BATCH) {
        let mut operations = Vec::new();
        for n in first..first + BATCH {
            let service = format!("service-{}", n / 100 * 100);
            if n.is_multiple_of(100) {
                let body = json!({ "url": format!("http://{upstream}") });
                operations.push(json!({ "method": "PUT", "path": format!("/services/{service}"), "body": body }));
            }
            let path = format!("/services/{service}/routes");
            operations.push(json!({ "method": "POST", "path": path, "body": mixed(n) }));
        }
        batch(&mut connection, &operations)?;
    }
    println!("changes: {ROUTES} routes written by batches in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Gives a route after the other a path more, and asks for it each time: how long after the Admin API's answer the first
/// request was sent that found it, in milliseconds; 0 where that was the very next one.
fn change_routes(admin: SocketAddr, proxy: SocketAddr, time: Duration) -> Result<Vec<f64>> {
    pin_thread(LOAD_CORE)?;
    let mut admin = Connection::open(admin)?;
    let mut proxied = Connection::open(proxy)?;
    let mut seen = Vec::new();
    let begin = Instant::now();
    let every = Duration::from_secs(1) / CHANGES_A_SECOND;
    while begin.elapsed() + every < time {
        let at = seen.len();
        // Those with a prefix of their own.
        let n = (at * 20 + 2) % ROUTES;
        let path = format!("/changed-{at}");
        let body = json!({ "paths": [format!("/r{n}"), path] }).to_string();
        let answer = admin.ask("PATCH", &format!("/routes/route-{n}"), &JSON, body.as_bytes())?;
        ensure!(answer.status == 200, "a change was answered {}", answer.status);
        let answered = Instant::now();
        let mut sent = answered;
        while proxied.ask("GET", &path, &[], b"").context("a changed route")?.status != 200 {
            sent = Instant::now();
            ensure!(answered.elapsed() < Duration::from_secs(10), "a change is not there after 10 s");
        }
        // The request itself waits in the queue of the load, and so does not count.
        seen.push(sent.duration_since(answered).as_secs_f64() * 1e3);
        let due = begin + every * u32::try_from(seen.len())?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(seen)
}

/// `POST /config` again and again under load.
pub(super) fn measure_replace(bench: &Bench) -> Result<Value> {
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let folder = bench.scratch.join("replace");
    let time = bench.time_or(20);
    let text = declarative(Task::Mixed(REPLACED), upstream);
    let (proxy, admin) = proxy(start_from_file(bench, &folder, &text)?);
    let load = Load::Mixed { count: REPLACED };
    load::send(bench, load, &proxy, Duration::from_secs(1), &folder)?;
    let quiet = load::send(bench, load, &proxy, time, &folder)?;
    let done = AtomicBool::new(false);
    let (loaded, times) = std::thread::scope(|scope| {
        let replaced = scope.spawn(|| replace_until(admin, &text, &done));
        let loaded = load::send(bench, load, &proxy, time, &folder);
        done.store(true, Ordering::Relaxed);
        (loaded, replaced.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    });
    let (loaded, times) = (loaded?, times?);
    let p99 = |one: &Answered| one.p99.as_secs_f64() * 1e3;
    println!("{} configurations of {REPLACED} routes posted under load: 0 requests failed", times.len());
    told("  p99 beside the quiet one", p99(&loaded) / p99(&quiet), "x", 1.5);
    println!("  p99 {:.2} ms quiet, {:.2} ms replacing", p99(&quiet), p99(&loaded));
    println!("  a replacement took {:.2} s", median(times.iter().copied()));
    Ok(
        json!({ "replaced": times.len(), "seconds": times, "p99_ms": { "quiet": p99(&quiet), "replacing": p99(&loaded) } }),
    )
}

fn replace_until(admin: SocketAddr, text: &str, done: &AtomicBool) -> Result<Vec<f64>> {
    pin_thread(LOAD_CORE)?;
    let mut times = Vec::new();
    let mut connection = Connection::open(admin)?;
    while !done.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let answer = connection.ask("POST", "/config", &[("Content-Type", "text/yaml")], text.as_bytes())?;
        ensure!(answer.status == 201, "a configuration was answered {}", answer.status);
        times.push(begin.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(times)
}
