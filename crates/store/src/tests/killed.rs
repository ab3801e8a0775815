//! A process that is killed amid its writes loses none that it was told are done, and leaves no half of one.
use super::layout;
use super::sqlite::Directory;
use crate::{Sqlite, Store, Ttl, system_clock};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use uuid::Uuid;

const ROUNDS: usize = 20;
const WRITES_A_ROUND: usize = 50;

/// Not a check but the process that is killed: it writes pairs of rows and says which are done. The file comes by stdin.
#[test]
#[ignore = "run by every_acknowledged_write_survives_a_kill in a process of its own"]
fn writes_until_it_is_killed() {
    let mut file = String::new();
    std::io::stdin().read_line(&mut file).unwrap();
    assert!(!file.trim().is_empty());
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(Path::new(file.trim()), layout(), system_clock()).unwrap());
    loop {
        let (service, route) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        store
            .writing(|w| {
                w.insert("services", json!({ "id": service, "name": service }), Ttl::Keep)?;
                w.insert("routes", json!({ "id": route, "service": { "id": service } }), Ttl::Keep)
            })
            .unwrap();
        println!("done {service}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn every_acknowledged_write_survives_a_kill() {
    let directory = Directory::new();
    let mut done: Vec<String> = Vec::new();
    for _ in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::killed::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", directory.file().display()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = |line: std::io::Result<String>| line.ok()?.strip_prefix("done ").map(str::to_owned);
        done.extend(lines.by_ref().filter_map(acknowledged).take(WRITES_A_ROUND));
        child.kill().unwrap();
        // What it still said before it died was done too; a line that is cut off was not said.
        done.extend(lines.filter_map(acknowledged).filter(|id| id.len() == 36));
        child.wait().unwrap();
    }
    assert!(done.len() >= ROUNDS * WRITES_A_ROUND);
    let store = Sqlite::open(&directory.file(), layout(), system_clock()).unwrap();
    let (mut services, mut routed) = (Vec::new(), Vec::new());
    store_rows(&store, |entity, row| match entity {
        "services" => services.push(row["id"].as_str().unwrap().to_owned()),
        _ => routed.push(row["service"]["id"].as_str().unwrap().to_owned()),
    });
    services.sort();
    routed.sort();
    assert_eq!(services, routed);
    assert!(done.iter().all(|id| services.binary_search(id).is_ok()));
}

fn store_rows(store: &dyn Store, mut visit: impl FnMut(&str, serde_json::Value)) {
    store.each(&mut |entity, row| visit(entity, row)).unwrap();
}
