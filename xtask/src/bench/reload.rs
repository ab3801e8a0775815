//! Requests during reloads and an upgrade of the binary: none may fail, and a WebSocket stays open. Then the worker
//! process is killed: how long until the next answer?

use super::nginx;
use super::proxies::{Bench, Certificate};
use crate::client::{self, Connection};
use crate::gateway::{Gateway, Setting};
use crate::process::{family, signal};
use crate::upstream;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const REQUESTS: usize = 50_000;
const CLIENTS: usize = 8;
const RELOADS: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(300);

/// What the clients counted.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    failed: AtomicUsize,
    /// A connection that had been used before ended without an answer. A client may send such a request again, so
    /// nothing is lost; but it counts.
    closed: AtomicUsize,
}

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let folder = bench.scratch.join("reload");
    std::fs::create_dir_all(&folder)?;
    // A copy, because the upgrade replaces the file.
    let binary = folder.join("silverback");
    std::fs::copy(bench.candidate.gateway()?, &binary)?;
    let certificate = Certificate::make(&bench.scratch)?;
    let (_upstream, http) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let listener = upstream::bind("127.0.0.1:0".parse()?)?;
    let websocket = listener.local_addr()?;
    std::thread::spawn(move || upstream::serve(&listener));

    let properties = bench.properties(&folder, &kong_yml(http, websocket), &certificate)?;
    let setting = Setting { binary: &binary, folder: &folder, properties: &properties, core: None };
    let gateway = Gateway::start(&setting)?;
    let at = gateway.ports.proxy;

    let (tally, done, begin) = (Tally::default(), AtomicBool::new(false), Instant::now());
    let events = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask_until(at, &tally, &done, begin));
        }
        let events = disturb(&gateway, &binary, at);
        done.store(true, Ordering::Relaxed);
        events
    });
    let [answered, failed, closed] =
        [&tally.answered, &tally.failed, &tally.closed].map(|counter| counter.load(Ordering::Relaxed));
    let echoed = events.context("during the load")?;
    let verdict = if failed + closed == 0 && answered >= REQUESTS { "met" } else { "MISSED" };
    println!(
        "reload: {answered} requests during {RELOADS} reloads and an upgrade: {failed} failed, {closed} connections \
         closed before an answer (goal 0: {verdict}); the WebSocket echoed {echoed} frames"
    );
    let back = kill_worker(&gateway, at)?;
    let verdict = if back <= Duration::from_secs(1) { "met" } else { "MISSED" };
    println!("worker killed: serving again after {:.0} ms (goal 1000 ms: {verdict})", back.as_secs_f64() * 1e3);
    Ok(json!({
        "requests": answered,
        "reloads": RELOADS,
        "failed": failed,
        "closed_before_answer": closed,
        "websocket_frames": echoed,
        "killed_worker_back_ms": back.as_secs_f64() * 1e3,
    }))
}

fn kong_yml(http: SocketAddr, websocket: SocketAddr) -> String {
    format!(
        "_format_version: \"3.0\"\nservices:\n  - name: http\n    url: http://{http}\n    routes:\n      \
         - name: everything\n        paths: [\"/\"]\n  - name: websocket\n    url: http://{websocket}\n    routes:\n      \
         - name: websocket\n        paths: [\"/ws\"]\n"
    )
}

/// Reloads again and again with a WebSocket open, then replaces the program; says how many frames were echoed.
fn disturb(gateway: &Gateway, binary: &Path, at: SocketAddr) -> Result<usize> {
    let mut socket = Connection::open(at)?;
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = socket.ask("GET", "/ws", &handshake, b"")?;
    ensure!(answer.status == 101, "the WebSocket was answered {}", answer.status);
    let mut echoed = 0;
    for round in 0..=RELOADS {
        std::thread::sleep(PAUSE);
        if round == RELOADS {
            let fresh = binary.with_extension("new");
            std::fs::copy(binary, &fresh)?;
            std::fs::rename(&fresh, binary)?;
            gateway.upgrade()?;
        } else {
            gateway.reload()?;
        }
        for _ in 0..20 {
            // A masked text frame "Hello" (RFC 6455, section 5.7) and its echo.
            socket.send(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58])?;
            ensure!(socket.receive(7)? == b"\x81\x05Hello", "the WebSocket echoed something else");
            echoed += 1;
        }
    }
    std::thread::sleep(PAUSE);
    Ok(echoed)
}

/// One client: keeps its connection as long as the gateway does.
fn ask_until(at: SocketAddr, tally: &Tally, done: &AtomicBool, begin: Instant) {
    let enough = || done.load(Ordering::Relaxed) && tally.answered.load(Ordering::Relaxed) >= REQUESTS;
    let mut connection = None;
    let mut used = false;
    while !enough() && begin.elapsed() < LIMIT {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => {
                used = false;
                Connection::open(at)
            }
        };
        let asked = open.and_then(|mut open| open.ask("GET", "/", &[], b"").map(|answer| (open, answer)));
        match asked {
            Ok((open, answer)) if answer.status == 200 => {
                tally.answered.fetch_add(1, Ordering::Relaxed);
                used = true;
                connection = (!answer.closes()).then_some(open);
            }
            Ok(_) => {
                tally.failed.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if used => {
                tally.closed.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                tally.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Kills the worker process; the time until a request is answered again.
fn kill_worker(gateway: &Gateway, at: SocketAddr) -> Result<Duration> {
    let supervisor = gateway.supervisor()?;
    let members = family(supervisor);
    let workers: Vec<u32> = members.into_iter().filter(|pid| *pid != supervisor).collect();
    ensure!(!workers.is_empty(), "the supervisor has no worker process");
    for pid in workers {
        signal(pid, "KILL")?;
    }
    let begin = Instant::now();
    loop {
        if client::get(at, "/", &[]).is_ok_and(|answer| answer.status == 200) {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > LIMIT {
            bail!("no answer within {LIMIT:?} of the worker's end");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
