//! Hours of use in minutes: mixed plugins, changes and clients that come and go, while the memory is watched.

use super::changes::{start, told};
use super::nginx;
use super::proxies::Bench;
use crate::client::Connection;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ROUTES: usize = 200;
const CLIENTS: usize = 4;
/// Requests of a connection before its client leaves.
const KEPT: usize = 100;
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];
const SAMPLE: Duration = Duration::from_secs(5);

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let gateway = start(bench, &bench.scratch.join("soak"), &[])?;
    let (admin, proxy) = (gateway.ports.admin, gateway.ports.proxy);
    fill(admin, upstream)?;
    let total = Duration::from_secs(60) * bench.minutes;
    // What is filled once (pools, caches, counters) is full by then.
    let settled = Duration::from_secs(120).min(total / 2);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begin = Instant::now();
    let (memory, changes) = std::thread::scope(|scope| -> Result<_> {
        let (done, answered) = (&done, &answered);
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || ask(n, proxy, done, answered))).collect();
        let changer = scope.spawn(|| change(admin, done));
        let mut memory = Vec::new();
        let has_ended = || changer.is_finished() || clients.iter().any(std::thread::ScopedJoinHandle::is_finished);
        while begin.elapsed() < total && !has_ended() {
            std::thread::sleep(SAMPLE);
            if begin.elapsed() >= settled {
                memory.push(gateway.running.memory().resident as f64 / 1024.0);
            }
        }
        done.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        clients.into_iter().try_for_each(|client| client.join().map_err(panicked)?)?;
        Ok((memory, changer.join().map_err(panicked)??))
    })?;
    let answered = answered.into_inner();
    let first = memory.first().copied().unwrap_or(f64::NAN);
    let highest = memory.iter().copied().fold(f64::NAN, f64::max);
    println!("soak: {answered} requests and {changes} changes in {:.0} s, 0 failed", begin.elapsed().as_secs_f64());
    told("  the most memory beside that after two minutes", highest / first, "x", 1.05);
    println!("  {first:.1} MB, at most {highest:.1} MB");
    Ok(json!({ "requests": answered, "changes": changes, "settled_mb": first, "highest_mb": highest, "mb": memory }))
}

fn write(connection: &mut Connection, method: &str, path: &str, body: &Value) -> Result<()> {
    let answer = connection.ask(method, path, &JSON, body.to_string().as_bytes())?;
    let said = || String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status < 300, "{method} {path} was answered {}: {}", answer.status, said());
    Ok(())
}

fn fill(admin: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(admin)?;
    write(&mut connection, "PUT", "/services/soak", &json!({ "url": format!("http://{upstream}") }))?;
    write(&mut connection, "PUT", "/consumers/soak", &json!({}))?;
    write(&mut connection, "PUT", "/consumers/soak/key-auth/soak", &json!({ "key": "soak" }))?;
    for n in 0..ROUTES {
        let body = json!({ "paths": [format!("/r{n}")], "service": { "name": "soak" } });
        write(&mut connection, "PUT", &format!("/routes/r{n}"), &body)?;
        let plugin = match n % 5 {
            0 => json!({ "name": "key-auth" }),
            1 => json!({ "name": "rate-limiting", "config": { "second": 1_000_000, "policy": "local" } }),
            2 => json!({ "name": "response-transformer", "config": { "add": { "headers": ["x-soak:1"] } } }),
            3 => json!({ "name": "correlation-id", "config": { "generator": "uuid" } }),
            _ => json!({ "name": "cors" }),
        };
        write(&mut connection, "POST", &format!("/routes/r{n}/plugins"), &plugin)?;
    }
    Ok(())
}

/// One client after another, each with a connection of its own.
fn ask(client: usize, proxy: SocketAddr, done: &AtomicBool, answered: &AtomicUsize) -> Result<()> {
    let mut n = client;
    while !done.load(Ordering::Relaxed) {
        let mut connection = Connection::open(proxy)?;
        for _ in 0..KEPT {
            n = (n + 7) % ROUTES;
            let answer = connection.ask("GET", &format!("/r{n}/x"), &[("apikey", "soak")], b"")?;
            ensure!(answer.status == 200, "/r{n}/x was answered {}", answer.status);
            answered.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(())
}

/// Ten changes a second: a route's tags, a plugin that comes and goes.
fn change(admin: SocketAddr, done: &AtomicBool) -> Result<usize> {
    let mut changes = 0;
    while !done.load(Ordering::Relaxed) {
        // A connection is closed after so many requests, as in Kong.
        let mut connection = Connection::open(admin)?;
        let n = changes % ROUTES;
        write(&mut connection, "PATCH", &format!("/routes/r{n}"), &json!({ "tags": [format!("t{changes}")] }))?;
        let plugin = json!({ "name": "request-size-limiting", "instance_name": "soak", "service": { "name": "soak" } });
        write(&mut connection, "POST", "/plugins", &plugin)?;
        write(&mut connection, "DELETE", "/plugins/soak", &json!({}))?;
        changes += 3;
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(changes)
}
