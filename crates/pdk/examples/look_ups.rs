//! How long the request path takes to find a client by its key, among a million of them. `make bench ARGS=consumers` runs it.

use entities::Configuration;
use pdk::Consumers;
use serde_json::json;
use std::io::Write;
use std::time::Instant;
use uuid::Uuid;

const CONSUMERS: u64 = 1_000_000;

fn key(number: u64) -> String {
    format!("key-of-{number}")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut all = Configuration::default();
    for number in 0..CONSUMERS {
        let id = Uuid::from_u128(u128::from(number));
        all.set("consumers", &json!({ "id": id, "created_at": 0, "updated_at": 0, "username": format!("c{number}") }))?;
        let key = json!({ "id": id, "created_at": 0, "key": key(number), "consumer": { "id": id } });
        all.set("keyauth_credentials", &key)?;
    }
    let begin = Instant::now();
    let consumers = Consumers::new(&all);
    let indexed = begin.elapsed();
    // In an order that no cache foresees: each number once, far from the one before.
    let keys: Vec<String> = (0..CONSUMERS).map(|n| key(n * 611_953 % CONSUMERS)).collect();
    let begin = Instant::now();
    let known = keys.iter().filter(|key| {
        let credential = consumers.key(key).ready().flatten();
        credential.and_then(|credential| consumers.consumer(credential.consumer.id).ready().flatten()).is_some()
    });
    let known = known.count();
    let each = begin.elapsed().as_nanos() as f64 / keys.len() as f64;
    let told = json!({
        "consumers": CONSUMERS, "found": known, "index_ms": indexed.as_millis() as u64, "look_up_ns": each.round(),
    });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}
