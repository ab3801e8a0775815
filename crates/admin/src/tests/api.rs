//! The whole Admin API over a store in memory and a node that remembers what it is told.
use crate::{
    AddressHealth, Api, Asked, CircuitHealth, Explained, HostHealth, Node, Pids, PluginEndpoint, Request, Response,
    RetryCounts, Settings, Status, UpstreamHealth,
};
use entities::{AvailablePlugin, Catalog, RouterFlavor};
use schema::{Field, RecordSchema, Subschema};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Change, Layout, Memory, Off, Store, system_clock};
use uuid::Uuid;

#[derive(Default)]
pub(super) struct Remembering {
    pub(super) changes: Mutex<Vec<Change>>,
    /// How often changes were told.
    pub(super) applied: Mutex<usize>,
    replaced: Mutex<usize>,
    health: Mutex<Option<UpstreamHealth>>,
    marked: Mutex<Vec<(String, Option<String>, bool)>>,
    level: Mutex<Option<(String, Option<Duration>)>>,
}

impl Node for Remembering {
    fn apply(&self, changes: &[Change]) {
        self.changes.lock().unwrap().extend_from_slice(changes);
        *self.applied.lock().unwrap() += 1;
    }
    fn replace(&self, rows: &[Change]) {
        *self.replaced.lock().unwrap() += rows.len();
    }
    fn node_id(&self) -> Uuid {
        Uuid::nil()
    }
    fn hostname(&self) -> String {
        "here".to_owned()
    }
    fn pids(&self) -> Pids {
        Pids { master: 1, workers: vec![2] }
    }
    fn configuration(&self) -> Map<String, Value> {
        Map::new()
    }
    fn status(&self) -> Status {
        let memory = vec![crate::MemoryUse { pid: 2, bytes: 3 * 1024 * 1024 / 2 }];
        Status { total_requests: 7, memory, ..Status::default() }
    }
    fn timers(&self) -> (u64, u64) {
        (1, 2)
    }
    fn log_level(&self) -> String {
        self.level.lock().unwrap().as_ref().map_or_else(|| "notice".to_owned(), |(level, _)| level.clone())
    }
    fn set_log_level(&self, level: &str, revert_after: Option<Duration>) {
        *self.level.lock().unwrap() = Some((level.to_owned(), revert_after));
    }
    fn health(&self, _: Uuid) -> Option<UpstreamHealth> {
        self.health.lock().unwrap().clone()
    }
    fn dns(&self) -> Map<String, Value> {
        Map::from_iter([("a.test:all".to_owned(), json!({ "runs": 3 }))])
    }
    fn set_health(&self, _: Uuid, target: &str, address: Option<&str>, healthy: bool) -> Result<(), String> {
        self.marked.lock().unwrap().push((target.to_owned(), address.map(str::to_owned), healthy));
        Ok(())
    }
    fn cached(&self, key: &str) -> Option<Value> {
        (key == "known").then(|| json!("text"))
    }
    fn uncache(&self, _: Option<&str>) {}
    fn explain(&self, asked: &Asked) -> Result<Explained, String> {
        let Asked { is_tls, http_version, method, host, target, headers, sni, consumer, .. } = asked;
        let row = json!({ "id": Uuid::nil(), "name": "limiter", "config": { "minute": 1, "secret": "hidden" } });
        Ok(Explained {
            matched: json!([is_tls, method, host, target, sni, headers, consumer]),
            plugins: vec![(row, vec!["access"])],
            client: json!("me"),
            answer: json!(format!("{http_version:?}")),
            others: Vec::new(),
        })
    }
    fn lint(&self) -> Vec<Value> {
        Vec::new()
    }
    fn endpoints(&self) -> Vec<PluginEndpoint> {
        let endpoint = |path| PluginEndpoint { path, methods: &["GET"] };
        vec![endpoint("/things/:thing"), endpoint("/things")]
    }
    fn call(&self, endpoint: &str, parameters: &[(String, String)], _: &Request) -> Response {
        if endpoint == "/things" {
            return Response::pieces(200, "text/plain", ["1\n", "2\n"].into_iter().map(Vec::from));
        }
        Response::json(200, &json!({ "endpoint": endpoint, "thing": parameters[0].1 }))
    }
}

pub(super) struct World {
    pub(super) api: Api,
    pub(super) node: Arc<Remembering>,
}

fn catalog() -> Arc<Catalog> {
    let limit = Field::record(Arc::new(RecordSchema::new(vec![
        ("hour", Field::integer()),
        ("minute", Field::integer().default(5)),
    ])));
    let limiter = Subschema::new("limiter").protocols_http().field("config", limit);
    let limiter = AvailablePlugin { priority: 1, version: "1".into(), schema: limiter };
    Arc::new(Catalog::new(RouterFlavor::TraditionalCompatible, vec![limiter]))
}

pub(super) fn world_with(settings: Settings, is_off: bool) -> World {
    let catalog = catalog();
    let layout = Arc::new(Layout::of(&catalog));
    let store: Arc<dyn Store> =
        if is_off { Arc::new(Off::new(layout, system_clock())) } else { Arc::new(Memory::new(layout, system_clock())) };
    let node = Arc::new(Remembering::default());
    let api = Api::new(catalog, store, Arc::<Remembering>::clone(&node), settings);
    World { api, node }
}

pub(super) fn world() -> World {
    world_with(Settings::default(), false)
}

impl World {
    pub(super) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (path, query) = (path.to_owned(), query.to_owned());
        self.api.handle(Request {
            method: method.to_owned(),
            path,
            query,
            headers,
            body: body.to_vec(),
            ..Request::default()
        })
    }

    pub(super) fn json(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let response = self.send(method, target, &[("Content-Type", "application/json")], body.to_string().as_bytes());
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }

    pub(super) fn get(&self, target: &str) -> (u16, Value) {
        let response = self.send("GET", target, &[], b"");
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }

    pub(super) fn form(&self, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
        let response = self.send(method, target, &[("Content-Type", "application/x-www-form-urlencoded")], body);
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }
}

pub(super) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_write_reaches_the_node_before_its_answer() {
    let world = world();
    let (status, service) = world.json("POST", "/services", &json!({ "name": "s", "host": "a.test" }));
    assert_eq!(status, 201);
    let changes = std::mem::take(&mut *world.node.changes.lock().unwrap());
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].entity, "services");
    assert_eq!(changes[0].id.to_string(), service["id"]);
    assert_eq!(changes[0].value.as_ref().unwrap()["host"], "a.test");
    assert_eq!(world.json("POST", "/services", &json!({ "name": "s", "host": "a.test" })).0, 409);
    assert!(world.node.changes.lock().unwrap().is_empty());
    assert_eq!(world.send("DELETE", "/services/s", &[], b"").status, 204);
    assert_eq!(world.node.changes.lock().unwrap()[0].value, None);
}

#[test]
fn a_failed_write_of_several_rows_leaves_nothing_behind() {
    let world = world();
    world.json("POST", "/consumers", &json!({ "username": "known" }));
    world.json("POST", "/consumer_groups", &json!({ "name": "gold" }));
    world.node.changes.lock().unwrap().clear();
    let (status, _) =
        world.json("POST", "/consumer_groups/gold/consumers", &json!({ "consumer": ["known", "unknown"] }));
    assert_eq!(status, 404);
    assert!(world.node.changes.lock().unwrap().is_empty());
    assert_eq!(world.get("/consumer_groups/gold/consumers").1["data"], json!([]));
    let (status, both) = world.json("POST", "/consumer_groups/gold/consumers", &json!({ "consumer": ["known"] }));
    assert_eq!((status, both["consumers"].as_array().map(Vec::len)), (201, Some(1)));
}

#[test]
fn plugins_keep_their_configuration_through_forms() {
    let world = world();
    assert_eq!(
        world.form("POST", "/plugins", b"name=limiter&config.hour=9").1["config"],
        json!({ "hour": 9, "minute": 5 })
    );
    let id = world.get("/plugins").1["data"][0]["id"].as_str().unwrap().to_owned();
    let (status, plugin) = world.form("PATCH", &format!("/plugins/{id}"), b"config.minute=6");
    assert_eq!((status, &plugin["config"]), (200, &json!({ "hour": 9, "minute": 6 })));
    assert!(plugin.get("consumer_group").is_none());
    let (status, group) = world.json("POST", "/consumer_groups", &json!({ "name": "gold" }));
    assert_eq!(status, 201);
    let (status, scoped) = world.json("POST", "/consumer_groups/gold/plugins", &json!({ "name": "limiter" }));
    assert_eq!((status, &scoped["consumer_group"]["id"]), (201, &group["id"]));
    assert_eq!(world.get("/").1["plugins"]["enabled_in_cluster"], json!(["limiter"]));
}

#[test]
fn bodies_out_of_bounds_are_refused() {
    let world = world_with(Settings { body_limit: 100_000, ..Settings::default() }, false);
    let form = |body: &[u8]| world.form("POST", "/services", body).0;
    assert_eq!(form(&vec![b'x'; 100_001]), 413);
    let many = |count: usize| (0..count).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join("&").into_bytes();
    assert_eq!(world.form("POST", "/services", &many(1001)), (400, json!({ "message": "Too many arguments" })));
    assert_eq!(form(&[b"a".as_slice(), &b"[x]".repeat(5000), b"=1"].concat()), 400);
    assert_eq!(form(b"host=%FF"), 400);
    assert_eq!(form(b"%FF=1"), 400);
    let json = |body: &[u8]| world.send("POST", "/services", &[("Content-Type", "application/json")], body);
    for body in [&b"["[..], b"{\"host\":\"\xff\"}", &b"[".repeat(50_000), b"", b"5", b"{} x"] {
        assert_eq!(json(body).body, br#"{"message":"Cannot parse JSON body"}"#);
    }
    let (status, body) = world.get(&format!("/services?{}", String::from_utf8(many(1001)).unwrap()));
    assert_eq!((status, body), (400, json!({ "message": "Too many arguments" })));
    assert!(world.get("/services").1["data"].as_array().unwrap().is_empty());
}

#[test]
fn bombs_are_refused_in_little_time() {
    let world = world();
    let started = std::time::Instant::now();
    let too_many = br#"{"message":"Too many arguments"}"#;
    let json = |body: &[u8]| world.send("POST", "/services", &[("Content-Type", "application/json")], body);
    let keys = (0..100_000).map(|i| format!("\"k{i}\":1")).collect::<Vec<_>>().join(",");
    assert_eq!(json(format!("{{{keys}}}").as_bytes()).body, too_many);
    // Ten megabytes of empty lists would take some hundred as values.
    let lists = format!("{{\"tags\":[{}]}}", vec!["[]"; 3_000_000].join(","));
    assert_eq!(json(lists.as_bytes()).body, too_many);
    let deep = [&br#"{"name":"#[..], &b"[".repeat(1_000_000)].concat();
    assert_eq!(json(&deep).body, br#"{"message":"Cannot parse JSON body"}"#);
    let form = [&b"name"[..], &b"[a]".repeat(1_000_000), &b".b".repeat(1_000_000), b"=1"].concat();
    assert_eq!(world.form("POST", "/services", &form).0, 400);
    let form = (0..100_000).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join("&");
    assert_eq!(world.form("POST", "/services", form.as_bytes()).0, 400);
    let part = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n";
    let parts = part.repeat(100_000);
    let multipart = [("Content-Type", "multipart/form-data; boundary=b")];
    assert_eq!(world.send("POST", "/services", &multipart, parts.as_bytes()).status, 400);
    let yaml = world.send("POST", "/services", &[("Content-Type", "application/yaml")], b"a: 1");
    assert_eq!(yaml.status, 415);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(world.get("/services").1["data"].as_array().unwrap().is_empty());
}

#[test]
fn the_gui_is_told_its_origin_and_others_the_first() {
    let origins = vec!["https://one.test".to_owned(), "https://two.test".to_owned()];
    let world =
        world_with(Settings { origins, server_header: None, latency_header: false, ..Settings::default() }, false);
    for (origin, expected) in [("https://two.test", "https://two.test"), ("https://evil.test", "https://one.test")] {
        let response = world.send("GET", "/status", &[("Origin", origin)], b"");
        assert_eq!(header(&response, "Access-Control-Allow-Origin"), Some(expected));
        assert_eq!(header(&response, "Server"), None);
        assert_eq!(header(&response, "X-Kong-Admin-Latency"), None);
    }
    let open = self::world().send("GET", "/status", &[], b"");
    assert_eq!(header(&open, "Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(header(&open, "Server"), Some("kong/3.10.0"));
    assert!(header(&open, "X-Kong-Admin-Latency").is_some());
}

#[test]
fn status_tells_memory_in_the_unit_asked_for() {
    let world = world();
    for (query, expected) in
        [("", json!("1.50 MiB")), ("?unit=k&scale=0", json!("1536 KiB")), ("?unit=B", json!(1_572_864))]
    {
        let (status, body) = world.get(&format!("/status{query}"));
        assert_eq!((status, &body["memory"]["workers_lua_vms"][0]["http_allocated_gc"]), (200, &expected));
        assert_eq!(body["server"]["total_requests"], 7);
    }
}

#[test]
fn health_is_told_by_target_and_as_a_whole() {
    let world = world();
    world.json("POST", "/upstreams", &json!({ "name": "u.test" }));
    for (target, weight) in [("10.0.0.1:80", 100), ("gone.test:80", 100), ("10.0.0.3:80", 0)] {
        world.json("POST", "/upstreams/u.test/targets", &json!({ "target": target, "weight": weight }));
    }
    let last_change = Some((1.5, "time-outs of probes".to_owned()));
    let address = |healthy: bool| AddressHealth {
        ip: "10.0.0.1".into(),
        port: 80,
        weight: 100,
        healthy,
        last_change: last_change.clone(),
        rest: None,
        share: 1.0,
    };
    let host = |target: &str, dns: &str, addresses: Vec<AddressHealth>| HostHealth {
        target: target.into(),
        host: target.trim_end_matches(":80").into(),
        port: 80,
        dns: dns.into(),
        node_weight: 100,
        is_failover: false,
        locality: Some("eu-1".to_owned()),
        addresses,
    };
    let hosts = vec![
        host("10.0.0.1:80", "A", vec![address(false)]),
        host("gone.test:80", "dns server error: 3 name error", Vec::new()),
        HostHealth { node_weight: 0, ..host("10.0.0.3:80", "A", vec![AddressHealth { weight: 0, ..address(true) }]) },
    ];
    let circuit = Some(CircuitHealth { state: "open", requests: Some((2, 1, 7)) });
    let retries = Some(RetryCounts { made: 3, refused: 4 });
    *world.node.health.lock().unwrap() =
        Some(UpstreamHealth { checked: true, healthy: false, hosts, circuit, retries });
    let (_, body) = world.get("/upstreams/u.test/health");
    let mut told: Vec<(&str, &str)> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["target"].as_str().unwrap(), row["health"].as_str().unwrap()))
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [("10.0.0.1:80", "UNHEALTHY"), ("10.0.0.3:80", "HEALTHCHECKS_OFF"), ("gone.test:80", "DNS_ERROR")]
    );
    let idle = body["data"].as_array().unwrap().iter().find(|row| row["target"] == "10.0.0.3:80").unwrap();
    assert_eq!(idle["data"]["addresses"][0]["health"], "HEALTHCHECKS_OFF");
    let (_, body) = world.get("/upstreams/u.test/health?balancer_health=1");
    assert_eq!(body["data"]["balancer_health"], "UNHEALTHY");
    assert_eq!(body["data"]["details"]["weight"], json!({ "total": 100, "available": 0, "unavailable": 100 }));
    assert!(body["data"].get("circuit_breaker").is_none(), "what Kong does not tell is told when it is asked for");
    let (_, body) = world.get("/upstreams/u.test/health?balancer_health=1&details=1");
    let requests = json!({ "active": 2, "pending": 1, "refused": 7 });
    assert_eq!(body["data"]["circuit_breaker"], json!({ "state": "open", "requests": requests }));
    assert_eq!(body["data"]["retries"], json!({ "made": 3, "refused": 4 }));
    let (_, body) = world.get("/upstreams/u.test/health?details=1");
    let rows = body["data"].as_array().unwrap();
    let row = rows.iter().find(|row| row["target"] == "10.0.0.1:80").unwrap();
    assert_eq!((&row["data"]["locality"], &row["data"]["failover"]), (&json!("eu-1"), &json!(false)));
    let address = json!({
        "ip": "10.0.0.1", "port": 80, "weight": 100, "health": "UNHEALTHY",
        "last_change": { "at": 1.5, "reason": "time-outs of probes" }, "rests_for": null, "share": 1,
    });
    assert_eq!(row["data"]["addresses"], json!([address]));
    assert_eq!(world.send("PUT", "/upstreams/u.test/targets/10.0.0.1:80/10.0.0.9:80/healthy", &[], b"").status, 204);
    assert_eq!(*world.node.marked.lock().unwrap(), [("10.0.0.1:80".to_owned(), Some("10.0.0.9:80".to_owned()), true)]);
}

#[test]
fn the_dns_client_tells_what_it_counts() {
    let old = world().get("/status/dns");
    assert_eq!((old.0, &old.1["message"]), (501, &json!("not implemented with the legacy DNS client")));
    let new = world_with(Settings { new_dns_client: true, ..Settings::default() }, false).get("/status/dns");
    let expected = json!({ "worker": { "id": 0, "count": 1 }, "stats": { "a.test:all": { "runs": 3 } } });
    assert_eq!(new, (200, expected));
}

#[test]
fn the_log_level_is_set_for_a_while_or_for_good() {
    let world = world();
    let put = |target: &str| world.send("PUT", target, &[], b"").status;
    assert_eq!(put("/debug/node/log-level/debug"), 200);
    assert_eq!(*world.node.level.lock().unwrap(), Some(("debug".to_owned(), Some(Duration::from_secs(60)))));
    assert_eq!(put("/debug/cluster/log-level/info?timeout=0"), 200);
    assert_eq!(*world.node.level.lock().unwrap(), Some(("info".to_owned(), None)));
    assert_eq!(put("/debug/node/log-level/loud"), 400);
}

#[test]
fn without_a_database_the_configuration_is_replaced_as_a_whole() {
    let world = world_with(Settings::default(), true);
    let yaml = b"_format_version: '3.0'\nconsumers:\n- username: u\n";
    let load = |body: &[u8]| world.send("POST", "/config?check_hash=1", &[("Content-Type", "text/yaml")], body).status;
    assert_eq!(load(yaml), 201);
    assert_eq!(load(yaml), 304);
    assert_eq!(load(b"_format_version: '3.0'\nconsumers:\n- nope: u\n"), 400);
    assert_eq!(world.get("/consumers/u").0, 200);
    assert_eq!(*world.node.replaced.lock().unwrap(), 1);
    let (status, refused) = world.json("PATCH", "/consumers/u", &json!({ "custom_id": "x" }));
    assert_eq!((status, &refused["code"]), (405, &json!(12)));
    assert_eq!(refused["message"], "cannot update 'consumers' entities by 'username' when not using a database");
    let text = world.get("/config").1["config"].as_str().unwrap().to_owned();
    assert!(text.contains("username: u"), "{text}");
    world.api.load(&text).unwrap();
    assert_eq!(world.get("/consumers/u").0, 200);
    assert!(world.api.load("_format_version: '9'").is_err());
}

#[test]
fn plugins_endpoints_are_theirs() {
    let world = world();
    assert_eq!(world.get("/things/a%20b").1, json!({ "endpoint": "/things/:thing", "thing": "a b" }));
    assert_eq!(world.send("DELETE", "/things/x", &[], b"").status, 405);
    let [get, head] = ["GET", "HEAD"].map(|method| world.send(method, "/things", &[], b""));
    assert_eq!(get.rest.into_iter().flatten().collect::<Vec<_>>().concat(), b"1\n2\n");
    // Nobody knows how long it would be.
    assert!(head.status == 200 && head.rest.is_none() && head.body.is_empty());
    assert!(!head.headers.iter().any(|(name, _)| name == "Content-Length"), "{:?}", head.headers);
    let paths = world.get("/endpoints").1["data"].to_string();
    assert!(paths.contains("/things/{thing}") && !paths.contains("consumer_group"));
    assert_eq!(world.get("/cache/known").1, json!({ "message": "text" }));
}

#[test]
fn an_id_that_is_null_is_none() {
    let world = world();
    let null = json!({ "id": null, "username": "a" });
    let id = |answer: &(u16, Value)| answer.1["id"].as_str().map(str::len);
    let created = world.json("POST", "/consumers", &null);
    assert_eq!((created.0, id(&created)), (201, Some(36)), "{}", created.1);
    for (method, path) in [("PUT", "/consumers/a"), ("PATCH", "/consumers/a")] {
        let changed = world.json(method, path, &null);
        assert_eq!((changed.0, &changed.1["id"]), (200, &created.1["id"]), "{method}: {}", changed.1);
    }
    let other = world.json("PUT", "/consumers/b", &json!({ "id": null }));
    assert_eq!((other.0, id(&other)), (200, Some(36)), "{}", other.1);
}

#[test]
fn head_tells_the_length_of_what_get_answers() {
    let world = world();
    for path in ["/consumers", "/consumers/nobody", "/nothing"] {
        let (get, head) = (world.send("GET", path, &[], b""), world.send("HEAD", path, &[], b""));
        let length = head.headers.iter().find(|(name, _)| name == "Content-Length").map(|(_, value)| value.as_str());
        assert_eq!(length, Some(get.body.len().to_string().as_str()), "{path}");
        assert!(head.body.is_empty() && head.status == get.status, "{path}");
    }
}
