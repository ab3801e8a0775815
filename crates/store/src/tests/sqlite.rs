//! What the embedded store promises beyond the contract.
use super::{Heard, layout};
use crate::{Off, Query, Sqlite, Store, Ttl, system_clock};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// A directory that is gone with the value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        let path = std::env::temp_dir().join(format!("silverback-store-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("silverback.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn service(name: &str) -> Value {
    json!({ "id": Uuid::new_v4().to_string(), "name": name, "tags": ["t"] })
}

fn count(store: &dyn Store) -> usize {
    let mut count = 0;
    store.each(&mut |_, _| count += 1).unwrap();
    count
}

#[test]
fn keeps_rows_when_opened_again_and_in_a_copy() {
    let directory = Directory::new();
    let first: Arc<dyn Store> = Arc::new(Sqlite::open(&directory.file(), layout(), system_clock()).unwrap());
    first.writing(|w| w.insert("services", service("one"), Ttl::Keep)).unwrap();
    drop(first);
    let again = Sqlite::open(&directory.file(), layout(), system_clock()).unwrap();
    assert!(again.is_reachable());
    assert_eq!(count(&again), 1);
    let copy = directory.0.join("copy.db");
    again.back_up(&copy).unwrap();
    assert!(again.back_up(&copy).is_err());
    assert_eq!(count(&Sqlite::open(&copy, layout(), system_clock()).unwrap()), 1);
}

#[test]
fn many_writers_share_commits_and_are_told_in_order() {
    const WRITERS: usize = 8;
    const WRITES: usize = 40;
    let directory = Directory::new();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&directory.file(), layout(), system_clock()).unwrap());
    let heard = Arc::new(Heard::default());
    store.follow(heard.clone());
    store.writing(|w| w.insert("services", json!({ "id": Uuid::nil().to_string(), "name": "0" }), Ttl::Keep)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for turn in 0..WRITES {
                    let taken = store.writing(|w| w.insert("services", service("0"), Ttl::Keep));
                    assert_eq!(taken.unwrap_err().code.number(), 5);
                    store.writing(|w| w.insert("services", service(&format!("{writer}-{turn}")), Ttl::Keep)).unwrap();
                    // Everyone counts on one row: no update is lost, and followers see the counts in order.
                    store
                        .writing(|w| {
                            let mut row = w.select("services", &Uuid::nil().to_string())?.unwrap_or_default();
                            let next = row["count"].as_u64().unwrap_or(0) + 1;
                            row["count"] = json!(next);
                            w.update("services", row, Ttl::Keep)
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(count(&*store), WRITERS * WRITES + 1);
    let counts: Vec<u64> = heard
        .changes
        .lock()
        .unwrap()
        .iter()
        .filter_map(|change| change.value.as_ref()?.get("count")?.as_u64())
        .collect();
    assert_eq!(counts, (1..=(WRITERS * WRITES) as u64).collect::<Vec<_>>());
}

#[test]
fn a_panic_in_a_transaction_undoes_it_and_harms_nobody_else() {
    let directory = Directory::new();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&directory.file(), layout(), system_clock()).unwrap());
    let panicking = Arc::clone(&store);
    let panicked = std::thread::spawn(move || {
        panicking.writing::<(), schema::Error>(|w| {
            w.insert("services", service("lost"), Ttl::Keep)?;
            panic!("on purpose");
        })
    });
    assert!(panicked.join().is_err());
    store.writing(|w| w.insert("services", service("kept"), Ttl::Keep)).unwrap();
    let page = store.reading(|r| r.page("services", &Query { size: 10, ..Query::default() })).unwrap();
    assert_eq!(page.rows.iter().map(|row| row["name"].clone()).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn off_reads_but_refuses_to_write_single_rows() {
    let store: Arc<dyn Store> = Arc::new(Off::new(layout(), system_clock()));
    assert!(!store.is_writable());
    let refused = store.writing(|w| w.insert("services", service("one"), Ttl::Keep)).unwrap_err();
    assert_eq!(refused.message.as_deref(), Some("cannot create 'services' entities when not using a database"));
    assert_eq!(
        Off::refusal("update", "services", Some("name")).message.as_deref(),
        Some("cannot update 'services' entities by 'name' when not using a database")
    );
    let id = Uuid::new_v4();
    let row =
        crate::Change { entity: "services".to_owned(), id, value: Some(json!({ "id": id.to_string(), "name": "x" })) };
    store.replace(vec![row]).unwrap();
    assert!(store.reading(|r| r.select("services", &id.to_string())).unwrap().is_some());
}

#[test]
fn look_ups_use_indexes() {
    let directory = Directory::new();
    drop(Sqlite::open(&directory.file(), layout(), system_clock()).unwrap());
    let connection = rusqlite::Connection::open(directory.file()).unwrap();
    let statements = [
        "SELECT row, expires FROM \"services\" WHERE key = 'x'",
        "SELECT row, expires FROM \"services\" WHERE json_extract(row, '$.\"name\"') = 'x'",
        "SELECT row, expires FROM \"plugins\" WHERE coalesce(json_extract(row, '$.\"name\"'), '') = 'x' AND coalesce(json_extract(row, '$.\"service\".id'), '') = '' AND coalesce(json_extract(row, '$.\"consumer\".id'), '') = ''",
        "SELECT row, expires FROM \"routes\" WHERE json_extract(row, '$.\"service\".id') = 'x' AND key > 'y' ORDER BY key LIMIT 2",
    ];
    for statement in statements {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(steps.len() == 1 && steps[0].contains("USING INDEX"), "{statement}: {steps:?}");
    }
}

#[test]
fn counts_add_up_and_end_with_their_time() {
    let folder = Directory::new();
    let time = super::Time::default();
    let open = || Sqlite::open(&folder.file(), layout(), time.clock()).unwrap();
    let store = open();
    let count = |identifier: &'static str, delta| crate::Count {
        identifier,
        route: Uuid::nil(),
        service: Uuid::from_u128(1),
        limit: None,
        period: "minute",
        start: 1_700_000_040,
        delta,
        ttl: 60,
    };
    assert_eq!(store.count(&[count("a", 2), count("b", 1)]).unwrap(), [2, 1]);
    assert_eq!(store.count(&[count("a", 3), count("a", 1)]).unwrap(), [5, 6]);
    // Another node, or this one after a restart, goes on from there.
    assert_eq!(open().count(&[count("a", 1)]).unwrap(), [7]);
    time.advance(61);
    assert_eq!(store.count(&[count("c", 1)]).unwrap(), [1]);
    assert_eq!(store.count(&[count("a", 1)]).unwrap(), [1], "a count whose time is over is gone");
}
