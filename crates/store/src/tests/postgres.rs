//! What the store on PostgreSQL promises beyond the contract: Kong's tables, Kong's events, nodes that follow each other, and
//! a database that goes away.
use super::postgres_server::{own, shared};
use super::{Heard, sqlite::Directory};
use crate::sql::for_tests::{ask, run_on};
use crate::{Change, Held, Layout, Loaded, Postgres, PostgresSettings, Server, Store, Ttl, Watch, system_clock};
use entities::{Catalog, RouterFlavor};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const SERVICE: &str = "11111111-0000-4000-8000-000000000001";
const ROUTE: &str = "11111111-0000-4000-8000-000000000002";
const CONSUMER: &str = "11111111-0000-4000-8000-000000000003";
const PLUGIN: &str = "11111111-0000-4000-8000-000000000004";
const UPSTREAM: &str = "11111111-0000-4000-8000-000000000005";

fn catalog() -> Catalog {
    Catalog::new(RouterFlavor::default(), Vec::new())
}

fn new(settings: PostgresSettings) -> Postgres {
    let catalog = catalog();
    let layout = Arc::new(Layout::of(&catalog));
    Postgres::new(settings, layout, catalog.entities().cloned(), Uuid::new_v4(), system_clock()).unwrap()
}

/// A node as far as the store is concerned.
struct Node {
    store: Arc<Postgres>,
    heard: Arc<Heard>,
    _watch: Watch,
    loaded: Loaded,
    first: Vec<(String, Value)>,
}

/// Holds one key, as a node that was told of it would.
struct HeldKey(Uuid);

impl Held for HeldKey {
    fn ids(&self, entity: &str, field: &str, value: &str) -> Vec<Uuid> {
        if (entity, field, value) == ("keyauth_credentials", "key", "kk") { vec![self.0] } else { Vec::new() }
    }
}

impl Node {
    fn start(store: Postgres) -> Node {
        Node::holding(store, Uuid::nil())
    }

    fn holding(store: Postgres, key: Uuid) -> Node {
        let (store, heard) = (Arc::new(store), Arc::new(Heard::default()));
        let mut first = Vec::new();
        let loaded = store.load(&mut |entity, row| first.push((entity.to_owned(), row))).unwrap();
        store.follow(heard.clone());
        let watch = store.watch(Arc::new(HeldKey(key)), loaded).unwrap();
        Node { store, heard, _watch: watch, loaded, first }
    }

    fn write(&self, entity: &str, row: Value) -> Result<Value, schema::Error> {
        (&*self.store as &dyn Store).writing(|w| w.upsert(entity, row, Ttl::Keep))
    }

    fn delete(&self, entity: &str, id: &str) {
        assert!((&*self.store as &dyn Store).writing(|w| w.delete(entity, id)).unwrap());
    }

    /// Waits until a change is heard, and takes what was.
    fn wait(&self, what: impl Fn(&Change) -> bool) -> (Duration, Change) {
        let began = Instant::now();
        loop {
            let found = self.heard.changes.lock().unwrap().iter().find(|change| what(change)).cloned();
            if let Some(change) = found {
                self.heard.changes.lock().unwrap().clear();
                return (began.elapsed(), change);
            }
            assert!(began.elapsed() < Duration::from_secs(20), "not heard");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Waits for something, at most for long.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn service(id: &str, name: &str) -> Value {
    json!({
        "id": id, "created_at": 1_763_717_531, "updated_at": 1_763_717_531, "name": name, "retries": 5, "protocol": "http",
        "host": "127.0.0.1", "port": 15555, "path": "/base", "connect_timeout": 60000, "write_timeout": 60000,
        "read_timeout": 60000, "tags": ["a", "b"], "client_certificate": null, "tls_verify": null,
        "tls_verify_depth": null, "ca_certificates": null, "enabled": true
    })
}

fn plugin(id: &str, config: Value) -> Value {
    json!({
        "id": id, "created_at": 1_763_717_531, "updated_at": 1_763_717_531, "name": "key-auth", "consumer": null,
        "service": null, "route": null, "config": config, "enabled": true, "protocols": ["http", "https"],
        "tags": null, "instance_name": "i1"
    })
}

fn get(store: &Postgres, entity: &str, id: &str) -> Option<Value> {
    (store as &dyn Store).reading(|r| r.select(entity, id)).unwrap()
}

fn is(entity: &'static str, id: &str, written: bool) -> impl Fn(&Change) -> bool {
    let id = Uuid::parse_str(id).unwrap();
    move |change| change.entity == entity && change.id == id && change.value.is_some() == written
}

#[test]
fn every_field_of_every_entity_has_its_column() {
    let store = new(shared().database(true));
    assert_eq!(store.migrations().state().unwrap().additions, Vec::<String>::new());
    let catalog = catalog();
    for schema in catalog.entities().filter(|schema| schema.name != "tags") {
        let table = if schema.name == "vaults" { "sm_vaults" } else { &schema.name };
        for (field, definition) in schema.stored_fields() {
            let column = if definition.reference_to().is_some() { format!("{field}_id") } else { field.to_owned() };
            let has = format!(
                "SELECT count(*)::text FROM information_schema.columns WHERE table_name = '{table}' AND column_name = '{column}'"
            );
            assert_eq!(ask(&store, &has), ["1"], "{table}.{column}");
        }
    }
}

#[test]
fn a_database_is_bootstrapped_once_and_reset() {
    let store = new(shared().database(false));
    assert!(store.migrations().state().unwrap().needs_bootstrap());
    let refused = (&store as &dyn Store).reading(|r| r.select("services", SERVICE)).unwrap_err();
    assert!(refused.is_unavailable && refused.to_string().contains("migrations"), "{refused}");
    assert!(store.migrations().bootstrap().unwrap());
    assert!(!store.migrations().bootstrap().unwrap());
    let state = store.migrations().state().unwrap();
    assert_eq!(state.executed.iter().map(|(_, executed)| executed.len()).sum::<usize>(), 69);
    assert!(!state.needs_bootstrap() && !state.is_too_old && state.additions.is_empty() && state.pending.is_empty());
    assert_eq!(get(&store, "services", SERVICE), None);
    assert!(store.migrations().reset().unwrap());
    assert!(!store.migrations().reset().unwrap());
    assert!(store.migrations().state().unwrap().needs_bootstrap());
}

#[test]
fn a_database_of_kong_is_used_as_it_is_and_lacks_only_what_kong_does_not_have() {
    let settings = shared().database(true);
    let drop_ours = "ALTER TABLE plugins DROP COLUMN consumer_group_id; DROP TABLE consumer_group_consumers; \
         DROP TABLE consumer_group_plugins; DROP TABLE consumer_groups; \
         UPDATE schema_meta SET executed = array_remove(executed, '025_390_to_3100') WHERE subsystem = 'core'";
    run_on(&settings.main, drop_ours);
    let store = new(settings);
    let state = store.migrations().state().unwrap();
    let missing = [
        "table consumer_groups",
        "table consumer_group_consumers",
        "table consumer_group_plugins",
        "column plugins.consumer_group_id",
    ];
    assert_eq!(state.additions, missing);
    assert!(!state.is_too_old);
    let dyn_store: &dyn Store = &store;
    dyn_store.writing(|w| w.insert("services", service(SERVICE, "s1"), Ttl::Keep)).unwrap();
    dyn_store.writing(|w| w.insert("plugins", plugin(PLUGIN, json!({})), Ttl::Keep)).unwrap();
    assert_eq!(dyn_store.reading(|r| r.select("consumer_groups", SERVICE)).unwrap(), None);
    let group = json!({ "id": SERVICE, "name": "g" });
    let refused = dyn_store.writing(|w| w.insert("consumer_groups", group, Ttl::Keep)).unwrap_err();
    assert!(refused.to_string().contains("silverback migrations up"), "{refused}");
    assert_eq!(store.migrations().up().unwrap(), missing);
    assert_eq!(store.migrations().up().unwrap(), Vec::<String>::new());
}

#[test]
fn a_database_of_an_old_kong_is_refused() {
    let settings = shared().database(true);
    run_on(&settings.main, "UPDATE schema_meta SET executed = executed[1:20] WHERE subsystem = 'core'");
    assert!(new(settings).migrations().state().unwrap().is_too_old);
}

/// Rows as Kong 3.10 wrote them, in its tables.
const WRITTEN_BY_KONG: &str = r#"
INSERT INTO services (id, created_at, updated_at, name, retries, protocol, host, port, path, connect_timeout, write_timeout,
  read_timeout, tags, ws_id, enabled)
VALUES ('11111111-0000-4000-8000-000000000001', '2025-11-21T09:32:11+00:00', '2025-11-21T09:32:11+00:00', 's1', 5, 'http',
  '127.0.0.1', 15555, '/base', 60000, 60000, 60000, '{a,b}', (SELECT id FROM workspaces), true);
INSERT INTO routes (id, created_at, updated_at, name, service_id, protocols, methods, hosts, paths, regex_priority, strip_path,
  preserve_host, tags, https_redirect_status_code, headers, path_handling, ws_id, request_buffering, response_buffering, sources)
VALUES ('11111111-0000-4000-8000-000000000002', '2025-11-21T09:32:11+00:00', '2025-11-21T09:32:11+00:00', 'r1',
  '11111111-0000-4000-8000-000000000001', '{http,https}', '{GET}', '{a.test}', '{/x,~/y$}', 0, true, false, '{a}', 426,
  '{"x-a": ["1", "2"]}', 'v0', (SELECT id FROM workspaces), true, true, ARRAY['{"ip": "10.0.0.1", "port": 80}'::jsonb]);
INSERT INTO plugins (id, created_at, updated_at, name, route_id, config, enabled, cache_key, protocols, ws_id, instance_name)
VALUES ('11111111-0000-4000-8000-000000000004', '2025-11-21T09:32:11+00:00', '2025-11-21T09:32:11+00:00', 'key-auth',
  '11111111-0000-4000-8000-000000000002', '{"realm": null, "key_names": ["k"]}', true,
  'plugins:key-auth:11111111-0000-4000-8000-000000000002::::' || (SELECT id FROM workspaces), '{grpc,grpcs,http,https}',
  (SELECT id FROM workspaces), 'i1');
INSERT INTO upstreams (id, created_at, updated_at, name, hash_on, slots, algorithm, ws_id, healthchecks)
VALUES ('11111111-0000-4000-8000-000000000005', '2025-11-21T09:32:11+00:00', '2025-11-21T09:32:11+00:00', 'up.test', 'none',
  10000, 'round-robin', (SELECT id FROM workspaces), '{"active": {"http_path": "/", "headers": {}}, "threshold": 0}');
INSERT INTO targets (id, created_at, updated_at, upstream_id, target, weight, ws_id, cache_key)
VALUES ('2c52cb1c-9be5-438f-a7b1-2e52aa482dbf', '2025-11-21T09:32:11.91+00:00', '2025-11-21T09:32:11.91+00:00',
  '11111111-0000-4000-8000-000000000005', '127.0.0.1:15555', 10, (SELECT id FROM workspaces),
  'targets:11111111-0000-4000-8000-000000000005:127.0.0.1:15555::::' || (SELECT id FROM workspaces));
"#;

#[test]
fn rows_that_kong_wrote_are_read() {
    let settings = shared().database(true);
    run_on(&settings.main, WRITTEN_BY_KONG);
    let store = new(settings);
    let dyn_store: &dyn Store = &store;
    assert_eq!(get(&store, "services", SERVICE), Some(service(SERVICE, "s1")));
    let route = get(&store, "routes", ROUTE).unwrap();
    assert_eq!(route["service"], json!({ "id": SERVICE }));
    assert_eq!(route["paths"], json!(["/x", "~/y$"]));
    assert_eq!(route["headers"], json!({ "x-a": ["1", "2"] }));
    assert_eq!(route["sources"], json!([{ "ip": "10.0.0.1", "port": 80 }]));
    let target = get(&store, "targets", "2c52cb1c-9be5-438f-a7b1-2e52aa482dbf").unwrap();
    assert_eq!((&target["created_at"], &target["weight"]), (&json!(1_763_717_531.91), &json!(10)));
    // What is new since the row was written is filled in.
    let upstream = get(&store, "upstreams", UPSTREAM).unwrap();
    assert_eq!(upstream["healthchecks"]["active"]["timeout"], 1);
    let plugin = dyn_store.reading(|r| r.select_by("plugins", "cache_key", &["key-auth", ROUTE, "", "", ""])).unwrap();
    assert_eq!(plugin.unwrap()["id"], PLUGIN);
    let tags = dyn_store.reading(|r| r.tags(None, 10, None)).unwrap().tags;
    let tags: Vec<_> = tags.iter().map(|tagged| format!("{} {}", tagged.entity, tagged.tag)).collect();
    assert_eq!(tags, ["services a", "services b", "routes a"]);
    let taken = dyn_store.writing(|w| w.insert("services", service(CONSUMER, "s1"), Ttl::Keep)).unwrap_err();
    assert_eq!(taken.code.number(), 5);
}

#[test]
fn rows_are_written_as_kong_writes_them() {
    let node = Node::start(new(shared().database(true)));
    node.write("services", service(SERVICE, "s1")).unwrap();
    let route = json!({ "id": ROUTE, "name": "r1", "service": { "id": SERVICE }, "paths": ["/x"], "headers": { "x-a": ["1"] },
        "sources": [{ "ip": "10.0.0.1" }], "created_at": 1_763_717_531, "tags": [] });
    node.write("routes", route).unwrap();
    node.write("consumers", json!({ "id": CONSUMER, "username": "u1", "custom_id": "c1" })).unwrap();
    let of_route = Value::Object(
        plugin(PLUGIN, json!({ "key_names": ["k"] }))
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .chain([("route".to_owned(), json!({ "id": ROUTE }))])
            .collect(),
    );
    node.write("plugins", of_route).unwrap();
    node.write("upstreams", json!({ "id": UPSTREAM, "name": "up.test", "slots": 10000 })).unwrap();
    let acl = json!({ "id": Uuid::new_v4().to_string(), "consumer": { "id": CONSUMER }, "group": "g" });
    node.write("acls", acl).unwrap();
    let target = json!({ "id": Uuid::new_v4().to_string(), "upstream": { "id": UPSTREAM }, "target": "127.0.0.1:15555", "weight": 10,
        "created_at": 1_763_717_531.91 });
    node.write("targets", target).unwrap();
    node.write("vaults", json!({ "id": Uuid::new_v4().to_string(), "prefix": "p", "name": "env", "config": {} }))
        .unwrap();
    let key = json!({ "id": Uuid::new_v4().to_string(), "consumer": { "id": CONSUMER }, "key": "kk" });
    node.write("keyauth_credentials", key).unwrap();
    let ws = node.store.workspace().unwrap();
    let questions = [
        ("SELECT cache_key FROM plugins", format!("plugins:key-auth:{ROUTE}::::{ws}")),
        ("SELECT cache_key FROM acls", format!("acls:{CONSUMER}:g::::{ws}")),
        ("SELECT cache_key FROM targets", format!("targets:{UPSTREAM}:127.0.0.1:15555::::{ws}")),
        ("SELECT created_at::text FROM targets", "2025-11-21 09:32:11.91+00".to_owned()),
        ("SELECT created_at::text FROM services", "2025-11-21 09:32:11+00".to_owned()),
        ("SELECT ws_id::text FROM routes", ws.to_string()),
        (
            "SELECT paths::text || headers::text || sources::text FROM routes",
            r#"{/x}{"x-a": ["1"]}{"{\"ip\": \"10.0.0.1\"}"}"#.to_owned(),
        ),
        ("SELECT tags::text FROM tags WHERE entity_name = 'services'", "{a,b}".to_owned()),
        ("SELECT prefix FROM sm_vaults", "p".to_owned()),
    ];
    for (question, answer) in questions {
        assert_eq!(ask(&node.store, question), [answer], "{question}");
    }
    let told = ask(
        &node.store,
        "SELECT DISTINCT channel || ' ' || data FROM cluster_events WHERE channel <> 'silverback' ORDER BY 1",
    );
    let mut expected = vec![
        format!("balancer:targets create:{UPSTREAM}"),
        format!("balancer:upstreams create:{ws}:{UPSTREAM}:up.test"),
        format!("invalidations acls:{CONSUMER}:::::{ws}"),
        format!("invalidations acls:{CONSUMER}:g::::{ws}"),
        format!("invalidations consumers:{CONSUMER}:::::{ws}"),
        format!("invalidations consumers:c1:::::{ws}"),
        format!("invalidations consumers:u1:::::{ws}"),
        format!("invalidations keyauth_credentials:kk:::::{ws}"),
        format!("invalidations_kong_core_db_cache plugins:key-auth:{ROUTE}::::{ws}"),
        "invalidations_kong_core_db_cache plugins_iterator:version".to_owned(),
        "invalidations_kong_core_db_cache router:version".to_owned(),
        format!("invalidations_kong_core_db_cache routes:{ROUTE}:::::{ws}"),
        format!("invalidations_kong_core_db_cache services:{SERVICE}:::::{ws}"),
        format!("invalidations_kong_core_db_cache targets:{UPSTREAM}:127.0.0.1:15555::::{ws}"),
        format!("invalidations_kong_core_db_cache upstreams:{UPSTREAM}:::::{ws}"),
        "invalidations_kong_core_db_cache vaults:p:::::".to_owned(),
    ];
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn a_change_on_one_node_is_heard_on_the_other_at_once() {
    let mut settings = shared().database(true);
    settings.poll = Duration::from_secs(60);
    let (one, two) = (Node::start(new(settings.clone())), Node::start(new(settings)));
    let mut slowest = Duration::ZERO;
    // The first may come before the other listens: it is then read when it does.
    for turn in 0..20 {
        one.write("services", service(SERVICE, &format!("s{turn}"))).unwrap();
        let (took, change) = two.wait(is("services", SERVICE, true));
        assert_eq!(change.value.unwrap()["name"], format!("s{turn}"));
        slowest = slowest.max(if turn == 0 { Duration::ZERO } else { took });
    }
    println!("the slowest of 19 changes was heard on the other node after {slowest:?}");
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    one.delete("services", SERVICE);
    two.wait(is("services", SERVICE, false));
    assert!(one.heard.changes.lock().unwrap().len() == 21, "a node hears its own changes once");
}

#[test]
fn changes_by_a_node_of_kong_are_found_by_its_events() {
    let mut settings = shared().database(true);
    settings.poll = Duration::from_millis(50);
    let key = "d84d5f37-adcb-4ef1-811b-a127a8812a36";
    let node = Node::holding(new(settings.clone()), Uuid::parse_str(key).unwrap());
    run_on(&settings.main, WRITTEN_BY_KONG);
    let tell = |channel: &str, data: &str| {
        run_on(
            &settings.main,
            &format!(
                "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data) VALUES (gen_random_uuid(), gen_random_uuid(),
                 CURRENT_TIMESTAMP(3), CURRENT_TIMESTAMP(3) + interval '1 hour', '{channel}', '{data}')"
            ),
        );
    };
    let ws = node.store.workspace().unwrap();
    let core = "invalidations_kong_core_db_cache";
    let events = [
        (core, "router:version".to_owned(), None),
        (core, format!("services:{SERVICE}:::::{ws}"), Some(("services", SERVICE))),
        (core, format!("routes:{ROUTE}:::::{ws}"), Some(("routes", ROUTE))),
        (core, format!("plugins:key-auth:{ROUTE}::::{ws}"), Some(("plugins", PLUGIN))),
        ("balancer:upstreams", format!("create:{ws}:{UPSTREAM}:up.test"), Some(("upstreams", UPSTREAM))),
        ("balancer:targets", format!("create:{UPSTREAM}"), Some(("targets", "2c52cb1c-9be5-438f-a7b1-2e52aa482dbf"))),
    ];
    for (channel, data, expected) in events {
        tell(channel, &data);
        if let Some((entity, id)) = expected {
            node.wait(is(entity, id, true));
        }
    }
    run_on(
        &settings.main,
        &format!(
            "INSERT INTO consumers (id, username, ws_id) SELECT '{CONSUMER}', 'u:1', id FROM workspaces;
             INSERT INTO keyauth_credentials (id, key, consumer_id, ws_id) SELECT '{key}', 'kk', '{CONSUMER}', id FROM workspaces"
        ),
    );
    tell("invalidations", &format!("consumers:u:1:::::{ws}"));
    node.wait(is("consumers", CONSUMER, true));
    tell("invalidations", &format!("keyauth_credentials:kk:::::{ws}"));
    node.wait(is("keyauth_credentials", key, true));
    // Deleted, it is found by what this node holds.
    run_on(&settings.main, "DELETE FROM keyauth_credentials");
    tell("invalidations", &format!("keyauth_credentials:kk:::::{ws}"));
    node.wait(is("keyauth_credentials", key, false));
}

#[test]
fn the_databases_constraints_are_the_last_word_in_the_same_words() {
    let settings = shared().database(true);
    let (one, two) = (Arc::new(new(settings.clone())), Arc::new(new(settings.clone())));
    let (inserted, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let first = std::thread::spawn(move || {
        (&*one as &dyn Store).writing(|w| {
            w.insert("services", service(SERVICE, "same"), Ttl::Keep)?;
            inserted.send(()).unwrap();
            // The other has looked for the name and waits at the database's index by then.
            until("the other writer waits", || {
                ask(&one, "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
                    == ["1"]
            });
            Ok::<_, schema::Error>(())
        })
    });
    wait.recv().unwrap();
    let refused =
        (&*two as &dyn Store).writing(|w| w.insert("services", service(UPSTREAM, "same"), Ttl::Keep)).unwrap_err();
    first.join().unwrap().unwrap();
    assert_eq!(refused.message.as_deref(), Some("UNIQUE violation detected on '{name=\"same\"}'"));
    // A parent that somebody else deletes.
    let orphan = (&*two as &dyn Store).writing(|w| {
        assert!(w.select("services", SERVICE)?.is_some());
        run_on(&settings.main, "DELETE FROM services");
        w.insert("routes", json!({ "id": ROUTE, "service": { "id": SERVICE }, "paths": ["/"] }), Ttl::Keep)
    });
    assert_eq!(orphan.unwrap_err().code.number(), 4);
}

#[test]
fn a_value_that_postgresql_cannot_keep_is_refused_without_being_shown() {
    let node = Node::start(new(shared().database(true)));
    let refused = node.write("consumers", json!({ "id": CONSUMER, "username": "secret\u{0}" })).unwrap_err();
    assert_eq!(refused.code.number(), 2);
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[test]
fn a_name_is_no_statement() {
    let node = Node::start(new(shared().database(true)));
    let name = "o'no\\'); DROP TABLE consumers; -- \u{1f98d}";
    node.write("consumers", json!({ "id": CONSUMER, "username": name })).unwrap();
    assert_eq!(get(&node.store, "consumers", CONSUMER).unwrap()["username"], name);
    let told = ask(&node.store, "SELECT data FROM cluster_events WHERE data LIKE 'consumers:o%'");
    assert_eq!(told, [format!("consumers:{name}:::::{}", node.store.workspace().unwrap())]);
}

#[test]
fn a_node_outlives_its_database_and_starts_without_it() {
    let (mut server, directory) = own();
    let mut settings = server.database(true);
    settings.main.timeout = Duration::from_secs(2);
    settings.notifications = settings.main.clone();
    let file = directory.file();
    let copied = |settings: &PostgresSettings| new(settings.clone()).with_copy(&file).unwrap();
    let node = Node::start(copied(&settings));
    assert_eq!(node.loaded, Loaded::Database);
    node.write("services", service(SERVICE, "before")).unwrap();
    node.write("consumers", json!({ "id": CONSUMER, "username": "gone" })).unwrap();
    node.delete("consumers", CONSUMER);
    for name in ["silverback.db", "silverback.db-wal"] {
        let mode = std::fs::metadata(file.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    server.tell("stop");
    let refused = node.write("services", service(UPSTREAM, "during")).unwrap_err();
    assert!(refused.is_unavailable && refused.status() == 503, "{refused}");
    assert!(!node.store.is_reachable());
    until("it is known", || !node.store.was_reachable());
    drop(node);

    let restarted = Node::start(copied(&settings));
    assert_eq!(restarted.loaded, Loaded::Disk);
    let services: Vec<_> = restarted.first.iter().filter(|(entity, _)| entity != "workspaces").collect();
    assert_eq!(services, [&("services".to_owned(), service(SERVICE, "before"))]);
    // A copy is of one database: another one's is no substitute.
    let elsewhere = Server { database: "other".to_owned(), ..settings.main.clone() };
    let other = copied(&PostgresSettings { main: elsewhere, ..settings.clone() });
    assert!(other.load(&mut |_, _| {}).is_err());

    server.tell("start");
    until("the database is back", || !restarted.heard.replaced.lock().unwrap().is_empty());
    until("it is known", || restarted.store.was_reachable());
    restarted.write("services", service(SERVICE, "after")).unwrap();
    server.tell("kill");
    server.tell("start");
    until("written after a crash of the server", || restarted.write("services", service(SERVICE, "again")).is_ok());
    let second = Node::start(new(settings));
    second.write("services", service(SERVICE, "heard again")).unwrap();
    restarted.wait(|change| change.value.as_ref().is_some_and(|row| row["name"] == "heard again"));
}

#[test]
fn rows_expire_on_every_node_by_its_own_clock() {
    let settings = shared().database(true);
    let (one, two) = (Node::start(new(settings.clone())), Node::start(new(settings)));
    one.write("consumers", json!({ "id": CONSUMER, "username": "u" })).unwrap();
    let key = json!({ "id": PLUGIN, "consumer": { "id": CONSUMER }, "key": "kk" });
    (&*one.store as &dyn Store).writing(|w| w.insert("keyauth_credentials", key, Ttl::Set(1.0))).unwrap();
    two.wait(is("keyauth_credentials", PLUGIN, true));
    until("it is gone everywhere", || {
        [&one, &two].iter().all(|node| {
            node.store.purge().unwrap();
            node.heard.changes.lock().unwrap().iter().any(is("keyauth_credentials", PLUGIN, false))
        })
    });
}

#[test]
fn connections_are_encrypted_and_the_server_is_verified() {
    let shared = shared();
    let plain = shared.database(true).main;
    let certificate = std::fs::read_to_string(Path::new(&shared.folder).join("server.crt")).unwrap();
    drop(shared);
    let body: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
    let encrypted = Server { host: "localhost".to_owned(), ssl: true, ..plain.clone() };
    let verified = Server { ssl_verify: true, authorities: vec![der], ..encrypted.clone() };
    let uses = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (server, is_encrypted) in [(&plain, "false"), (&encrypted, "true"), (&verified, "true")] {
        assert_eq!(ask(&new(PostgresSettings::of(server.clone())), uses), [is_encrypted], "{server:?}");
    }
    let other_name = Server { host: "127.0.0.1".to_owned(), ..verified.clone() };
    let no_authority = Postgres::new(
        PostgresSettings::of(Server { authorities: Vec::new(), ..verified }),
        Arc::new(Layout::of(&catalog())),
        [],
        Uuid::nil(),
        system_clock(),
    );
    assert!(no_authority.is_err());
    let wrong = Server { password: Some("a wrong secret".to_owned()), ..plain };
    for server in [other_name, wrong] {
        let refused = new(PostgresSettings::of(server)).migrations().state().unwrap_err();
        assert!(refused.is_unavailable, "{refused}");
        assert!(!refused.to_string().contains("a wrong secret"), "{refused}");
    }
}

#[test]
fn a_replica_answers_readers_and_never_feeds_the_data_plane() {
    let mut settings = shared().database(true);
    let replica = shared().database(true).main;
    (&new(PostgresSettings::of(replica.clone())) as &dyn Store)
        .writing(|w| w.insert("services", service(SERVICE, "on the replica"), Ttl::Keep))
        .unwrap();
    settings.replica = Some(replica);
    let node = Node::start(new(settings.clone()));
    assert_eq!(get(&node.store, "services", SERVICE).unwrap()["name"], "on the replica");
    assert_eq!(node.first.iter().filter(|(entity, _)| entity == "services").count(), 0);
    settings.replica = None;
    Node::start(new(settings)).write("services", service(SERVICE, "on the main server")).unwrap();
    let (_, heard) = node.wait(is("services", SERVICE, true));
    assert_eq!(heard.value.unwrap()["name"], "on the main server");
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for() {
    let mut settings = shared().database(true);
    settings.main.timeout = Duration::from_millis(300);
    let store = new(settings);
    let began = Instant::now();
    let refused = crate::sql::for_tests::try_ask(&store, "SELECT pg_sleep(10)::text").unwrap_err();
    assert!(refused.is_unavailable, "{refused}");
    assert!(began.elapsed() < Duration::from_secs(3));
    // The connection was given up, and the next one is a fresh one.
    assert_eq!(ask(&store, "SELECT 'alive'"), ["alive"]);
}

#[test]
fn connections_are_bounded_and_waiting_for_one_has_an_end() {
    let mut settings = shared().database(true);
    settings.main.most_connections = 2;
    settings.main.queue_timeout = Duration::from_millis(50);
    settings.main.most_waiting = 1;
    let store: Arc<dyn Store> = Arc::new(new(settings));
    let refused = store.reading(|_| store.reading(|_| store.reading(|r| r.select("services", SERVICE)))).unwrap_err();
    assert!(refused.is_unavailable && refused.to_string().contains("in use"), "{refused}");
    // What was taken is given back.
    assert_eq!(store.reading(|_| store.reading(|r| r.select("services", SERVICE))).unwrap(), None);
}

#[test]
fn many_writers_on_postgres_lose_nothing_and_are_told_in_order() {
    const WRITERS: usize = 8;
    const WRITES: usize = 50;
    let node = Node::start(new(shared().database(true)));
    let counter = |count: u64| service(SERVICE, &format!("count {count}"));
    node.write("services", counter(0)).unwrap();
    let (store, began) = (&*node.store as &dyn Store, Instant::now());
    for turn in 0..WRITES {
        let consumer = json!({ "id": Uuid::new_v4().to_string(), "username": format!("alone {turn}") });
        store.writing(|w| w.insert("consumers", consumer, Ttl::Keep)).unwrap();
    }
    let alone = began.elapsed();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for turn in 0..WRITES {
                    let consumer = json!({ "id": Uuid::new_v4().to_string(), "username": format!("{writer} {turn}") });
                    store.writing(|w| w.insert("consumers", consumer, Ttl::Keep)).unwrap();
                }
            });
        }
    });
    let together = began.elapsed();
    let rate = |writes: usize, took: Duration| writes as f64 / took.as_secs_f64();
    println!("{:.0} creates a second alone", rate(WRITES, alone));
    println!("{:.0} creates a second on {WRITERS} connections", rate(WRITERS * WRITES, together));
    assert_eq!(ask(&node.store, "SELECT count(*)::text FROM consumers"), [((WRITERS + 1) * WRITES).to_string()]);
    // Everyone renames one row: the last name heard is the one that is kept.
    std::thread::scope(|scope| {
        for writer in 0..WRITERS as u64 {
            scope.spawn(move || {
                for turn in 0..10 {
                    store.writing(|w| w.update("services", counter(writer * 100 + turn), Ttl::Keep)).unwrap();
                }
            });
        }
    });
    let heard = node.heard.changes.lock().unwrap();
    let last = heard.iter().rev().find(|change| change.entity == "services").and_then(|change| change.value.clone());
    assert_eq!(last, get(&node.store, "services", SERVICE));
}

#[test]
fn a_pooler_in_transaction_mode_may_stand_in_between() {
    let (mut server, _directory) = own();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    server.tell(&format!("pool {port}"));
    let mut settings = server.database(true);
    settings.poll = Duration::from_secs(60);
    settings.main.port = port;
    let (one, two) = (Node::start(new(settings.clone())), Node::start(new(settings.clone())));
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let store = &one.store;
            scope.spawn(move || {
                for turn in 0..10 {
                    let consumer = json!({ "id": Uuid::new_v4().to_string(), "username": format!("{writer} {turn}") });
                    (&**store as &dyn Store).writing(|w| w.insert("consumers", consumer, Ttl::Keep)).unwrap();
                }
            });
        }
    });
    until("all are heard", || two.heard.changes.lock().unwrap().len() == 60);
    // Where only the pooler is known, nodes look for changes instead.
    settings.notifications = settings.main.clone();
    settings.poll = Duration::from_millis(50);
    let three = Node::start(new(settings));
    one.write("services", service(SERVICE, "s")).unwrap();
    three.wait(is("services", SERVICE, true));
}

#[test]
fn a_schema_of_ones_own_is_used() {
    let mut settings = shared().database(false);
    settings.main.schema = Some("the gateway".to_owned());
    settings.notifications = settings.main.clone();
    let store = new(settings.clone());
    assert!(store.migrations().bootstrap().unwrap());
    let (one, two) = (Node::start(store), Node::start(new(settings)));
    one.write("services", service(SERVICE, "s")).unwrap();
    two.wait(is("services", SERVICE, true));
    assert_eq!(ask(&one.store, "SELECT schemaname::text FROM pg_tables WHERE tablename = 'services'"), ["the gateway"]);
}

#[test]
fn a_directory_for_the_copy_is_needed() {
    let missing = Directory::new().file().join("nowhere/copy.db");
    let settings = PostgresSettings::of(Server::default());
    assert!(new(settings).with_copy(&missing).is_err());
}

#[test]
fn counts_of_rate_limits_add_up_in_kongs_table() {
    let store = new(shared().database(true));
    let count = |identifier: &'static str, delta| crate::Count {
        identifier,
        route: Uuid::nil(),
        service: Uuid::from_u128(1),
        limit: None,
        period: "minute",
        start: 1_763_717_520,
        delta,
        ttl: 60,
    };
    assert_eq!(store.count(&[count("b", 2), count("a", 1)]).unwrap(), [2, 1]);
    assert_eq!(store.count(&[count("b", 3)]).unwrap(), [5]);
    let question = "SELECT concat_ws(' ', identifier, period, extract(epoch FROM period_date)::int, service_id, value,
                    ttl > CURRENT_TIMESTAMP) FROM ratelimiting_metrics ORDER BY identifier";
    let service = "00000000-0000-0000-0000-000000000001";
    let want = [format!("a minute 1763717520 {service} 1 t"), format!("b minute 1763717520 {service} 5 t")];
    assert_eq!(ask(&store, question), want);
    let of_response = |delta| crate::Count { limit: Some("video"), ..count("c", delta) };
    assert_eq!(store.count(&[of_response(4)]).unwrap(), [4]);
    assert_eq!(store.count(&[of_response(-1)]).unwrap(), [3]);
    let question = "SELECT concat_ws(' ', identifier, period, extract(epoch FROM period_date)::int, value)
                    FROM response_ratelimiting_metrics";
    assert_eq!(ask(&store, question), ["c video_minute 1763717520 3"]);
}
