//! From the start of the program to its first proxied answer, with 1,000 routes.

use super::nginx;
use super::proxies::{Bench, Certificate, Task, declarative};
use super::report::median;
use crate::client;
use crate::gateway::{Gateway, Setting};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ROUTES: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(30);
const GOAL: f64 = 150.0;

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let binary = bench.candidate.gateway()?;
    let certificate = Certificate::make(&bench.scratch)?;
    let (_upstream, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
    let mut times = Vec::new();
    // The first start makes what a prefix keeps (default certificates): it is measured apart.
    for round in 0..=bench.rounds.max(5) {
        let folder = bench.scratch.join("start");
        std::fs::create_dir_all(&folder)?;
        let properties = bench.properties(&folder, &declarative(Task::Routes(ROUTES), upstream), &certificate)?;
        let setting = Setting { binary, folder: &folder, properties: &properties, core: None };
        let begin = Instant::now();
        let mut gateway = Gateway::spawn(&setting)?;
        let path = format!("/r{}/x", ROUTES - 1 - round);
        while !client::get(gateway.ports.proxy, &path, &[]).is_ok_and(|answer| answer.status == 200) {
            gateway.running.fail_if_ended()?;
            if begin.elapsed() > LIMIT {
                bail!("no proxied answer within {LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let first = times.remove(0);
    let middle = median(times.iter().copied());
    let verdict = if middle <= GOAL { "met" } else { "MISSED" };
    println!(
        "start: {middle:.0} ms to the first proxied answer with {ROUTES} routes (goal {GOAL} ms: {verdict}); the very first {first:.0} ms"
    );
    Ok(json!({ "routes": ROUTES, "first_ms": first, "median_ms": middle, "ms": times }))
}
