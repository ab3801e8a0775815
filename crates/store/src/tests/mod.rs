//! Each backend runs the one contract; what only SQLite promises (durability, group commit) follows.
mod contract;
mod killed;
mod postgres;
mod postgres_server;
mod sqlite;

use crate::layout::{Index, OnDelete, Part, Reference, Table};
use crate::{Change, Clock, Error, Follower, Layout, Memory, Postgres, Sqlite, Store, Ttl};
use contract::Fixture;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A clock that tests move. It is ahead of the database's own, whose triggers delete what has expired by theirs.
#[derive(Clone, Default)]
pub(super) struct Time(Arc<AtomicU64>);

impl Time {
    pub(super) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || 4_000_000_000.0 + time.load(Ordering::SeqCst) as f64)
    }
}

#[derive(Default)]
pub(super) struct Heard {
    pub(super) changes: Mutex<Vec<Change>>,
    pub(super) replaced: Mutex<Vec<Vec<Change>>>,
}

impl Follower for Heard {
    fn changed(&self, changes: &[Change]) {
        self.changes.lock().unwrap().extend_from_slice(changes);
    }

    fn replaced(&self, rows: &[Change]) {
        self.replaced.lock().unwrap().push(rows.to_vec());
    }
}

fn table(name: &str) -> Table {
    Table {
        name: name.to_owned(),
        key: "id".to_owned(),
        has_uuid: true,
        unique: Vec::new(),
        references: Vec::new(),
        has_ttl: false,
        has_tags: true,
    }
}

fn unique(name: &str, parts: &[(&str, bool)]) -> Index {
    let part = |(field, foreign): &(&str, bool)| Part { field: (*field).to_owned(), foreign: *foreign, hidden: false };
    Index { name: name.to_owned(), parts: parts.iter().map(part).collect() }
}

fn reference(field: &str, entity: &str, on_delete: OnDelete) -> Reference {
    Reference { field: field.to_owned(), entity: entity.to_owned(), on_delete }
}

/// Services with routes (restrict) and plugins (cascade, unique by scope), consumers with expiring keys.
pub(super) fn layout() -> Arc<Layout> {
    Arc::new(Layout::new(vec![
        Table { unique: vec![unique("name", &[("name", false)])], ..table("services") },
        Table {
            unique: vec![unique("name", &[("name", false)])],
            references: vec![reference("service", "services", OnDelete::Restrict)],
            ..table("routes")
        },
        Table { unique: vec![unique("username", &[("username", false)])], ..table("consumers") },
        Table {
            unique: vec![
                unique("cache_key", &[("name", false), ("service", true), ("consumer", true)]),
                unique("instance_name", &[("instance_name", false)]),
            ],
            references: vec![
                reference("service", "services", OnDelete::Cascade),
                reference("consumer", "consumers", OnDelete::Cascade),
            ],
            ..table("plugins")
        },
        Table {
            unique: vec![unique("key", &[("key", false)])],
            references: vec![reference("consumer", "consumers", OnDelete::Cascade)],
            has_ttl: true,
            ..table("keyauth_credentials")
        },
        Table { references: vec![reference("consumer", "consumers", OnDelete::Null)], ..table("notes") },
        Table { has_uuid: false, key: "key".to_owned(), has_tags: false, ..table("parameters") },
    ]))
}

fn fixture(store: Arc<dyn Store>, time: Time) -> Fixture {
    let heard = Arc::new(Heard::default());
    store.follow(heard.clone());
    Fixture { store, heard, time, _directory: None, shows_unset: false }
}

#[test]
fn memory_keeps_the_contract() {
    contract::run(|| {
        let time = Time::default();
        fixture(Arc::new(Memory::new(layout(), time.clock())), time)
    });
}

#[test]
fn a_row_that_goes_takes_its_own_values_out_of_the_indexes_in_memory() {
    let store: Arc<dyn Store> = Arc::new(Memory::new(layout(), Time::default().clock()));
    let id = |n: usize| format!("00000000-0000-4000-8000-{n:012}");
    let row = |n: usize| json!({ "id": id(n), "name": format!("p{n}"), "instance_name": format!("i{n}") });
    let rows = 0..3000;
    let insert = |n| store.writing(|writer| writer.insert("plugins", row(n), Ttl::Keep)).map(drop) as Result<(), Error>;
    rows.clone().try_for_each(insert).unwrap();
    let is_kept = |n: &usize| !n.is_multiple_of(3);
    let gone = rows.clone().filter(|n| !is_kept(n));
    for n in gone {
        let deleted: Result<bool, Error> = store.writing(|writer| writer.delete("plugins", &id(n)));
        assert!(deleted.unwrap(), "{n}");
    }
    for n in rows {
        let found = |index: &str, values: &[&str]| -> Result<_, Error> {
            store.reading(|reader| reader.select_by("plugins", index, values))
        };
        let by_key = found("cache_key", &[&format!("p{n}"), "", ""]).unwrap();
        let by_name = found("instance_name", &[&format!("i{n}")]).unwrap();
        assert_eq!(by_key, is_kept(&n).then(|| row(n)), "{n}");
        assert_eq!(by_name, by_key, "{n}");
    }
    // Freed places are taken again.
    insert(0).unwrap();
    let again: Result<_, Error> = store.reading(|reader| reader.select("plugins", &id(0)));
    assert_eq!(again.unwrap(), Some(row(0)));
}

#[test]
fn sqlite_keeps_the_contract() {
    contract::run(|| {
        let directory = sqlite::Directory::new();
        let time = Time::default();
        let store = Sqlite::open(&directory.file(), layout(), time.clock()).unwrap();
        Fixture { _directory: Some(directory), ..fixture(Arc::new(store), time) }
    });
}

#[test]
fn postgres_keeps_the_contract() {
    contract::run(|| {
        let time = Time::default();
        let mut settings = postgres_server::shared().database(true);
        settings.cleanup = std::time::Duration::ZERO;
        let store = Postgres::new(settings, layout(), [], uuid::Uuid::new_v4(), time.clock()).unwrap();
        Fixture { shows_unset: true, ..fixture(Arc::new(store), time) }
    });
}
