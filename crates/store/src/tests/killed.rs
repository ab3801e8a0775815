//! A process that is killed amid its writes loses none that it was told are done, and leaves no half of one.
use super::sqlite::Directory;
use crate::{Layout, Sqlite, Store, system_clock};
use entities::{Catalog, RouterFlavor};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

const ROUNDS: usize = 20;
const WRITES_A_ROUND: usize = 50;

/// The example `writes_until_killed`, which cargo builds with the tests, beside this test's binary.
fn writer() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("examples/writes_until_killed")
}

fn layout() -> Arc<Layout> {
    Arc::new(Layout::of(&Catalog::new(RouterFlavor::default(), Vec::new())))
}

#[test]
fn every_acknowledged_write_survives_a_kill() {
    let directory = Directory::new();
    let mut done: Vec<String> = Vec::new();
    for _ in 0..ROUNDS {
        let mut child =
            Command::new(writer()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
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
