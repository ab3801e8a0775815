//! Tests of `storage`.

use super::*;
use pdk::Storage;
use store::{Layout, Memory, Off, system_clock};

fn catalog() -> Arc<Catalog> {
    Arc::new(Catalog::new(entities::RouterFlavor::Traditional, Vec::new()))
}

fn storage() -> (PluginStorage, Arc<dyn Store>) {
    let catalog = catalog();
    let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(Layout::of(&catalog)), system_clock()));
    (PluginStorage::new(store.clone(), catalog), store)
}

fn wait<T>(stored: Stored<T>) -> Result<T, StorageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(stored)
}

fn session(id: &str) -> Write {
    Write::Insert {
        entity: "sessions",
        row: json!({ "session_id": id, "data": "d" }),
        ttl: Some(Duration::from_secs(9)),
    }
}

fn id(row: &Value) -> Uuid {
    id_of(row).unwrap()
}

#[test]
fn what_was_written_is_found_at_once() {
    let (storage, _) = storage();
    let rows = wait(storage.write(vec![session("a")])).unwrap().unwrap();
    assert!(rows[0]["created_at"].is_number(), "the schema fills the row: {rows:?}");
    for _ in 0..2 {
        let found = wait(storage.find("sessions", "session_id", "a")).unwrap().unwrap();
        assert_eq!((&found["data"], id(&found)), (&json!("d"), id(&rows[0])));
    }
    let patch = json!({ "data": "new" });
    let update = Write::Update { entity: "sessions", id: id(&rows[0]), patch, ttl: Some(Duration::from_secs(5)) };
    wait(storage.write(vec![update])).unwrap().unwrap();
    assert_eq!(wait(storage.find("sessions", "session_id", "a")).unwrap().unwrap()["data"], "new");
    wait(storage.write(vec![Write::Delete { entity: "sessions", id: id(&rows[0]) }])).unwrap().unwrap();
    assert_eq!(wait(storage.find("sessions", "session_id", "a")), Ok(None));
}

#[test]
fn of_two_who_want_a_row_one_gets_it_and_the_other_changes_nothing() {
    let (storage, _) = storage();
    let rows = wait(storage.write(vec![session("code")])).unwrap().unwrap();
    let take = |new: &str| vec![Write::Delete { entity: "sessions", id: id(&rows[0]) }, session(new)];
    assert!(wait(storage.write(take("first"))).unwrap().is_some());
    assert_eq!(wait(storage.write(take("second"))), Ok(None));
    assert!(wait(storage.find("sessions", "session_id", "first")).unwrap().is_some());
    assert_eq!(wait(storage.find("sessions", "session_id", "second")), Ok(None));
}

#[test]
fn a_row_that_another_deletes_is_gone_here_too() {
    let (storage, store) = storage();
    let rows = wait(storage.write(vec![session("a")])).unwrap().unwrap();
    assert!(wait(storage.find("sessions", "session_id", "a")).unwrap().is_some());
    let gone: Result<bool, Error> = store.writing(|writer| writer.delete("sessions", &id(&rows[0]).to_string()));
    assert!(gone.unwrap());
    assert_eq!(wait(storage.find("sessions", "session_id", "a")), Ok(None));
}

#[test]
fn a_refused_row_says_nothing_of_its_keys() {
    let (storage, _) = storage();
    wait(storage.write(vec![session("secret")])).unwrap().unwrap();
    let error = wait(storage.write(vec![session("secret")])).unwrap_err();
    assert_eq!(error, StorageError::Refused("unique constraint violation".to_owned()));
}

#[test]
fn without_a_database_nothing_is_written() {
    let catalog = catalog();
    let store: Arc<dyn Store> = Arc::new(Off::new(Arc::new(Layout::of(&catalog)), system_clock()));
    let storage = PluginStorage::new(store, catalog);
    assert_eq!(wait(storage.write(vec![session("a")])), Err(StorageError::ReadOnly));
    assert_eq!(wait(storage.find("sessions", "session_id", "a")), Ok(None));
}

#[test]
fn what_is_kept_is_bounded() {
    let rows = Rows::default();
    for number in 0..3 * KEPT {
        let row = Arc::new(json!({ "id": Uuid::from_u128(number as u128) }));
        rows.keep(RowKey { entity: "sessions", field: "session_id", value: number.to_string() }, &row, 0);
    }
    let halves = rows.lock();
    assert!(halves.young.len() + halves.old.len() <= 2 * KEPT && halves.places.len() <= 2 * KEPT + 1);
}

#[test]
fn too_many_at_once_are_told_so() {
    let (storage, _) = storage();
    let all: Vec<_> = (0..=WAITING).map(|_| storage.write(Vec::new())).collect();
    let busy = all.into_iter().next_back().unwrap();
    assert_eq!(wait(busy), Err(StorageError::Busy));
}
