//! What every store promises.
use super::{Heard, Time};
use crate::{Change, Query, Reader, Store, TagFilter, Ttl, Writer};
use schema::Error;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(super) struct Fixture {
    pub(super) store: Arc<dyn Store>,
    pub(super) heard: Arc<Heard>,
    pub(super) time: Time,
    pub(super) _directory: Option<super::sqlite::Directory>,
    /// Whether rows come back with every field of their entity, the unset ones as null.
    pub(super) shows_unset: bool,
}

type Check = (&'static str, fn(&Fixture));

/// Runs every check on a store of its own.
pub(super) fn run(make: impl Fn() -> Fixture) {
    let checks: [Check; 15] = [
        ("writes and reads back", writes_and_reads_back),
        ("refuses a primary key twice", refuses_a_primary_key_twice),
        ("refuses unique values twice", refuses_unique_values_twice),
        ("refuses a composite key twice, nulls included", refuses_a_composite_key_twice),
        ("refuses references to nothing", refuses_references_to_nothing),
        ("restricts deletion", restricts_deletion),
        ("cascades deletion", cascades_deletion),
        ("clears references", clears_references),
        ("undoes a failed transaction", undoes_a_failed_transaction),
        ("pages in the order of keys", pages_in_the_order_of_keys),
        ("refuses bad offsets", refuses_bad_offsets),
        ("filters by tags", filters_by_tags),
        ("lists tags", lists_tags),
        ("lets rows expire", lets_rows_expire),
        ("replaces everything", replaces_everything),
    ];
    for (name, check) in checks {
        println!("{name}");
        check(&make());
    }
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn service(number: u32, name: &str) -> Value {
    json!({ "id": id(number), "name": name, "tags": null })
}

impl Fixture {
    fn write<T>(&self, work: impl FnOnce(&mut dyn Writer) -> Result<T, Error>) -> Result<T, Error> {
        self.store.writing(work)
    }

    /// A row as it was written: without fields that it was not given.
    fn bare(&self, row: Option<Value>) -> Option<Value> {
        row.map(|mut row| {
            if self.shows_unset
                && let Some(fields) = row.as_object_mut()
            {
                fields.retain(|name, value| name == "tags" || !value.is_null());
            }
            row
        })
    }

    fn read<T>(&self, work: impl FnOnce(&dyn Reader) -> Result<T, Error>) -> T {
        self.store.reading(work).unwrap()
    }

    fn insert(&self, entity: &str, row: Value) -> Result<Value, Error> {
        self.write(|w| w.insert(entity, row, Ttl::Keep))
    }

    fn delete(&self, entity: &str, number: u32) -> Result<bool, Error> {
        self.write(|w| w.delete(entity, &id(number)))
    }

    fn has(&self, entity: &str, number: u32) -> bool {
        self.read(|r| r.select(entity, &id(number))).is_some()
    }

    fn heard(&self) -> Vec<(String, u128, bool)> {
        let changes = std::mem::take(&mut *self.heard.changes.lock().unwrap());
        let number = |id: Uuid| id.as_u128() & 0xffff_ffff;
        changes.into_iter().map(|change| (change.entity, number(change.id), change.value.is_some())).collect()
    }
}

fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> (u8, String) {
    let error = result.unwrap_err();
    (error.code.number(), error.message.clone().unwrap_or_default())
}

fn writes_and_reads_back(f: &Fixture) {
    let row = f.insert("services", service(1, "one")).unwrap();
    assert_eq!(row, service(1, "one"));
    assert_eq!(f.bare(f.read(|r| r.select("services", &id(1)))), Some(service(1, "one")));
    assert_eq!(f.bare(f.read(|r| r.select("services", &id(1).to_uppercase()))), Some(service(1, "one")));
    assert_eq!(f.bare(f.read(|r| r.select_by("services", "name", &["one"]))), Some(service(1, "one")));
    assert_eq!(f.read(|r| r.select_by("services", "name", &["two"])), None);
    f.write(|w| w.update("services", service(1, "renamed"), Ttl::Keep)).unwrap();
    assert_eq!(f.read(|r| r.select_by("services", "name", &["one"])), None);
    assert!(f.read(|r| r.select_by("services", "name", &["renamed"])).is_some());
    f.write(|w| w.upsert("services", service(2, "second"), Ttl::Keep)).unwrap();
    assert_eq!(failure(f.write(|w| w.update("services", service(9, "x"), Ttl::Keep))).0, 6);
    assert!(f.delete("services", 1).unwrap());
    assert!(!f.delete("services", 1).unwrap());
    let expected = [("services", 1, true), ("services", 1, true), ("services", 2, true), ("services", 1, false)];
    assert_eq!(f.heard(), expected.map(|(entity, id, written)| (entity.to_owned(), id, written)));
    f.insert("parameters", json!({ "key": "cluster_id", "value": "x" })).unwrap();
    assert!(f.read(|r| r.select("parameters", "cluster_id")).is_some());
    assert_eq!(f.heard(), []);
}

fn refuses_a_primary_key_twice(f: &Fixture) {
    f.insert("services", service(1, "one")).unwrap();
    let (code, message) = failure(f.insert("services", service(1, "one")));
    assert_eq!(code, 3);
    assert_eq!(message, format!("primary key violation on key '{{id=\"{}\"}}'", id(1)));
}

fn refuses_unique_values_twice(f: &Fixture) {
    f.insert("services", service(1, "one")).unwrap();
    f.insert("services", service(2, "two")).unwrap();
    let message = "UNIQUE violation detected on '{name=\"one\"}'".to_owned();
    assert_eq!(failure(f.insert("services", service(3, "one"))), (5, message.clone()));
    assert_eq!(failure(f.write(|w| w.update("services", service(2, "one"), Ttl::Keep))), (5, message.clone()));
    assert_eq!(failure(f.write(|w| w.upsert("services", service(3, "one"), Ttl::Keep))), (5, message));
    f.insert("services", json!({ "id": id(4), "name": null })).unwrap();
    f.insert("services", json!({ "id": id(5), "name": null })).unwrap();
}

fn refuses_a_composite_key_twice(f: &Fixture) {
    f.insert("services", service(1, "one")).unwrap();
    let plugin = |number: u32, service: Value| json!({ "id": id(number), "name": "cors", "service": service, "consumer": null, "instance_name": null, "config": {}, "enabled": true });
    f.insert("plugins", plugin(10, Value::Null)).unwrap();
    f.insert("plugins", plugin(11, json!({ "id": id(1) }))).unwrap();
    let (code, message) = failure(f.insert("plugins", plugin(12, Value::Null)));
    assert_eq!(
        (code, message.as_str()),
        (5, "UNIQUE violation detected on '{consumer=null,name=\"cors\",service=null}'")
    );
    assert_eq!(failure(f.insert("plugins", plugin(12, json!({ "id": id(1) })))).0, 5);
    let found = f.read(|r| r.select_by("plugins", "cache_key", &["cors", &id(1), ""])).unwrap();
    assert_eq!(found["id"], id(11));
}

fn refuses_references_to_nothing(f: &Fixture) {
    let (code, message) = failure(f.insert("routes", json!({ "id": id(1), "service": { "id": id(9) } })));
    assert_eq!(code, 4);
    assert_eq!(
        message,
        format!("the foreign key '{{id=\"{}\"}}' does not reference an existing 'services' entity.", id(9))
    );
    f.insert("routes", json!({ "id": id(1), "service": null })).unwrap();
}

fn restricts_deletion(f: &Fixture) {
    f.insert("services", service(1, "one")).unwrap();
    f.insert("routes", json!({ "id": id(2), "service": { "id": id(1).to_uppercase() } })).unwrap();
    let (code, message) = failure(f.delete("services", 1));
    assert_eq!((code, message.as_str()), (4, "an existing 'routes' entity references this 'services' entity"));
    assert!(f.delete("routes", 2).unwrap());
    assert!(f.delete("services", 1).unwrap());
}

fn cascades_deletion(f: &Fixture) {
    f.insert("consumers", json!({ "id": id(1), "username": "a" })).unwrap();
    for number in 2..5 {
        let key = json!({ "id": id(number), "key": number.to_string(), "consumer": { "id": id(1) }, "tags": ["t"] });
        f.insert("keyauth_credentials", key).unwrap();
    }
    let plugin = json!({ "id": id(7), "name": "cors", "service": null, "consumer": { "id": id(1) }, "config": {}, "enabled": true });
    f.insert("plugins", plugin).unwrap();
    f.heard();
    assert!(f.delete("consumers", 1).unwrap());
    assert!((2..5).all(|number| !f.has("keyauth_credentials", number)));
    assert!(!f.has("plugins", 7));
    let mut gone = f.heard();
    assert_eq!(gone.pop(), Some(("consumers".to_owned(), 1, false)));
    assert_eq!(gone.len(), 4);
    assert!(f.read(|r| r.tags(None, 10, None)).tags.is_empty());
}

fn clears_references(f: &Fixture) {
    f.insert("consumers", json!({ "id": id(1), "username": "a" })).unwrap();
    f.insert("notes", json!({ "id": id(2), "consumer": { "id": id(1) } })).unwrap();
    f.insert("keyauth_credentials", json!({ "id": id(3), "key": "k", "consumer": { "id": id(1) } })).unwrap();
    let mut along = Vec::new();
    let deleted = f.write(|w| {
        w.delete_along("consumers", &id(1), &mut |entity, before, after| {
            along.push((
                entity.to_owned(),
                before["consumer"]["id"] == id(1).as_str(),
                after.map(|row| row["consumer"].clone()),
            ));
        })
    });
    assert!(deleted.unwrap());
    along.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(along, [("keyauth_credentials".to_owned(), true, None), ("notes".to_owned(), true, Some(Value::Null))]);
    assert_eq!(f.read(|r| r.select("notes", &id(2))).unwrap()["consumer"], Value::Null);
}

fn undoes_a_failed_transaction(f: &Fixture) {
    f.insert("services", service(1, "one")).unwrap();
    f.heard();
    let failed = f.write(|w| {
        w.insert("services", json!({ "id": id(2), "name": "two", "tags": ["t"] }), Ttl::Keep)?;
        w.update("services", service(1, "changed"), Ttl::Keep)?;
        w.delete("services", &id(1))?;
        w.insert("services", service(3, "two"), Ttl::Keep)
    });
    assert_eq!(failure(failed).0, 5);
    assert_eq!(f.bare(f.read(|r| r.select("services", &id(1)))), Some(service(1, "one")));
    assert!(!f.has("services", 2));
    assert_eq!(f.read(|r| r.select_by("services", "name", &["changed"])), None);
    assert!(f.read(|r| r.tags(None, 10, None)).tags.is_empty());
    assert_eq!(f.heard(), []);
    f.insert("services", service(2, "two")).unwrap();
}

fn numbers(rows: &[Value]) -> Vec<u128> {
    rows.iter().map(|row| Uuid::parse_str(row["id"].as_str().unwrap()).unwrap().as_u128() & 0xff).collect()
}

fn pages_in_the_order_of_keys(f: &Fixture) {
    f.insert("services", service(40, "parent")).unwrap();
    for number in [5_u32, 3, 1, 4, 2] {
        f.insert("routes", json!({ "id": id(number), "service": { "id": id(40) } })).unwrap();
    }
    f.insert("routes", json!({ "id": id(9), "service": null })).unwrap();
    for (foreign, expected) in [(None, vec![1, 2, 3, 4, 5, 9]), (Some(("service", id(40))), vec![1, 2, 3, 4, 5])] {
        let foreign = foreign.as_ref().map(|(field, id)| (*field, id.as_str()));
        let mut seen = Vec::new();
        let mut offset: Option<String> = None;
        loop {
            let query = Query { size: 2, offset: offset.as_deref(), foreign, tags: None };
            let page = f.read(|r| r.page("routes", &query));
            assert!(page.rows.len() <= 2);
            seen.extend(numbers(&page.rows));
            offset = page.offset;
            if offset.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }
}

fn refuses_bad_offsets(f: &Fixture) {
    f.insert("services", service(1, "one")).unwrap();
    let ask = |offset: &str| {
        let query = Query { size: 1, offset: Some(offset), ..Query::default() };
        f.store.reading(|r| r.page("services", &query))
    };
    assert_eq!(failure(ask("bad")), (7, "'bad' is not a valid offset: bad json encoding".to_owned()));
    assert_eq!(failure(ask("===")), (7, "'===' is not a valid offset: bad json encoding".to_owned()));
    assert_eq!(failure(ask("!!")), (7, "'!!' is not a valid offset: bad base64 encoding".to_owned()));
    assert_eq!(ask("e30").unwrap().rows, Vec::<Value>::new());
}

fn filters_by_tags(f: &Fixture) {
    for (number, tags) in [(1, json!(["a", "b"])), (2, json!(["b"])), (3, json!(["c"])), (4, Value::Null)] {
        f.insert("services", json!({ "id": id(number), "name": null, "tags": tags })).unwrap();
    }
    f.insert("consumers", json!({ "id": id(5), "username": "x", "tags": ["b"] })).unwrap();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let filters = [
        (TagFilter::All(words(&["b"])), vec![1, 2]),
        (TagFilter::All(words(&["a", "b"])), vec![1]),
        (TagFilter::Any(words(&["a", "c"])), vec![1, 3]),
        (TagFilter::Any(words(&["none"])), vec![]),
    ];
    for (filter, expected) in filters {
        let query = Query { size: 10, tags: Some(filter.clone()), ..Query::default() };
        assert_eq!(numbers(&f.read(|r| r.page("services", &query)).rows), expected, "{filter:?}");
    }
    let first = f.read(|r| {
        r.page("services", &Query { size: 1, tags: Some(TagFilter::All(words(&["b"]))), ..Query::default() })
    });
    let rest =
        Query { size: 1, tags: Some(TagFilter::All(words(&["b"]))), offset: first.offset.as_deref(), foreign: None };
    assert_eq!(numbers(&f.read(|r| r.page("services", &rest)).rows), [2]);
}

fn lists_tags(f: &Fixture) {
    f.insert("services", json!({ "id": id(1), "name": "one", "tags": ["z", "a"] })).unwrap();
    f.insert("consumers", json!({ "id": id(2), "username": "x", "tags": ["a"] })).unwrap();
    let shown = |tag: Option<&str>| {
        let page = f.read(|r| r.tags(tag, 10, None));
        page.tags.into_iter().map(|tagged| format!("{} {}", tagged.entity, tagged.tag)).collect::<Vec<_>>()
    };
    assert_eq!(shown(None), ["services z", "services a", "consumers a"]);
    assert_eq!(shown(Some("a")), ["services a", "consumers a"]);
    let first = f.read(|r| r.tags(None, 2, None));
    let rest = f.read(|r| r.tags(None, 2, first.offset.as_deref()));
    assert_eq!((first.tags.len(), rest.tags.len(), rest.offset), (2, 1, None));
    f.write(|w| w.update("services", json!({ "id": id(1), "name": "one", "tags": ["q"] }), Ttl::Keep)).unwrap();
    assert_eq!(shown(None), ["services q", "consumers a"]);
}

fn lets_rows_expire(f: &Fixture) {
    f.insert("consumers", json!({ "id": id(1), "username": "a" })).unwrap();
    let key = |number: u32| json!({ "id": id(number), "key": "k", "consumer": { "id": id(1) }, "tags": null });
    let row = f.write(|w| w.insert("keyauth_credentials", key(2), Ttl::Set(60.0))).unwrap();
    assert_eq!(row["ttl"], 60);
    f.time.advance(20);
    assert_eq!(f.read(|r| r.select("keyauth_credentials", &id(2))).unwrap()["ttl"], 40);
    let kept = f.write(|w| w.update("keyauth_credentials", key(2), Ttl::Keep)).unwrap();
    assert_eq!(kept["ttl"], 40);
    f.time.advance(41);
    assert!(!f.has("keyauth_credentials", 2));
    assert_eq!(f.read(|r| r.select_by("keyauth_credentials", "key", &["k"])), None);
    assert!(f.read(|r| r.page("keyauth_credentials", &Query { size: 5, ..Query::default() })).rows.is_empty());
    f.heard();
    // The expired row gives way to a new one with its key, and both are told.
    let forever = f.insert("keyauth_credentials", key(3)).unwrap();
    assert_eq!(forever["ttl"], Value::Null);
    assert_eq!(f.heard().len(), 2);
    f.write(|w| w.update("keyauth_credentials", key(3), Ttl::Set(5.0))).unwrap();
    f.time.advance(6);
    f.heard();
    assert_eq!(f.store.purge().unwrap(), 1);
    assert_eq!(f.store.purge().unwrap(), 0);
    assert_eq!(f.heard(), [("keyauth_credentials".to_owned(), 3, false)]);
}

fn replaces_everything(f: &Fixture) {
    f.insert("services", json!({ "id": id(1), "name": "old", "tags": ["t"] })).unwrap();
    f.heard();
    let row =
        Change { entity: "services".to_owned(), id: Uuid::parse_str(&id(2)).unwrap(), value: Some(service(2, "new")) };
    f.store.replace(vec![row.clone()]).unwrap();
    assert!(!f.has("services", 1));
    assert!(f.has("services", 2));
    assert!(f.read(|r| r.tags(None, 10, None)).tags.is_empty());
    assert_eq!(f.heard(), []);
    assert_eq!(*f.heard.replaced.lock().unwrap(), [vec![row]]);
    let mut all = Vec::new();
    f.store.each(&mut |entity, row| all.push((entity.to_owned(), f.bare(Some(row)).unwrap()))).unwrap();
    assert_eq!(all, [("services".to_owned(), service(2, "new"))]);
    f.insert("services", service(3, "later")).unwrap();
}
