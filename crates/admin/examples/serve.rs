//! The Admin API over a minimal HTTP server and a node that does nothing, for playing recorded cases against it:
//! `serve PORT [DIRECTORY | off]`. Plugins' schemas are read from the recorded answers of `/schemas/plugins/*`.
use admin::{Api, Node, Pids, PluginEndpoint, Request, Response, Settings, Status, UpstreamHealth};
use entities::{AvailablePlugin, Catalog, RouterFlavor};
use schema::{RecordSchema, Subschema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Change, Layout, Off, Sqlite, Store, system_clock};
use uuid::Uuid;

const CASES: &str = "../shared/conformance/cases/admin_info.json";

struct Idle {
    id: Uuid,
    database: &'static str,
    log_level: Mutex<String>,
}

impl Node for Idle {
    fn apply(&self, _: &[Change]) {}
    fn replace(&self, _: &[Change]) {}
    fn node_id(&self) -> Uuid {
        self.id
    }
    fn hostname(&self) -> String {
        "localhost".to_owned()
    }
    fn pids(&self) -> Pids {
        Pids { master: std::process::id(), workers: vec![std::process::id()] }
    }
    fn configuration(&self) -> Map<String, Value> {
        let configuration = json!({ "database": self.database, "router_flavor": "traditional_compatible" });
        configuration.as_object().cloned().unwrap_or_default()
    }
    fn status(&self) -> Status {
        Status::default()
    }
    fn timers(&self) -> (u64, u64) {
        (0, 0)
    }
    fn log_level(&self) -> String {
        self.log_level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn set_log_level(&self, level: &str, _: Option<Duration>) {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = level.to_owned();
    }
    fn health(&self, _: Uuid) -> Option<UpstreamHealth> {
        None
    }
    fn dns(&self) -> Map<String, Value> {
        Map::new()
    }
    fn set_health(&self, _: Uuid, _: &str, _: Option<&str>, _: bool) -> Result<(), String> {
        Err("Upstream u.test has no balancer".to_owned())
    }
    fn cached(&self, _: &str) -> Option<Value> {
        None
    }
    fn uncache(&self, _: Option<&str>) {}

    fn explain(&self, asked: &admin::Asked) -> Result<admin::Explained, String> {
        Err(format!("nothing is known of {}", asked.target))
    }

    fn lint(&self) -> Vec<Value> {
        Vec::new()
    }

    fn endpoints(&self) -> Vec<PluginEndpoint> {
        vec![
            PluginEndpoint { path: "/metrics", methods: &["GET"] },
            PluginEndpoint { path: "/acme", methods: &["POST", "PATCH"] },
            PluginEndpoint { path: "/acme/certificates", methods: &["GET"] },
            PluginEndpoint { path: "/acme/certificates/:certificates", methods: &["GET"] },
            PluginEndpoint { path: "/proxy-cache", methods: &["DELETE"] },
            PluginEndpoint { path: "/proxy-cache/:cache_key", methods: &["GET", "DELETE"] },
            PluginEndpoint { path: "/proxy-cache/:plugin_id/caches/:cache_key", methods: &["GET", "DELETE"] },
        ]
    }
    fn call(&self, endpoint: &str, _: &[(String, String)], _: &Request) -> Response {
        match endpoint {
            "/metrics" => Response::text(200, "text/plain; charset=UTF-8", ""),
            "/proxy-cache" => Response::empty(204),
            _ => Response::page(404),
        }
    }
}

/// The recorded schemas and versions of all plugins.
fn plugins() -> Vec<AvailablePlugin> {
    let cases = std::fs::read(CASES).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let cases: Vec<Value> = cases.unwrap_or_default();
    let answer = |name: &str| {
        let case = cases.iter().find(|case| case["name"] == name)?;
        Some(case["golden"][0]["json"].clone())
    };
    let root = answer("info/root").unwrap_or_default();
    let available = root["plugins"]["available_on_server"].as_object().cloned().unwrap_or_default();
    let plugin = |(name, facts): (&String, &Value)| {
        let record = match answer(&format!("info/schema/plugins/{name}")) {
            Some(schema) => RecordSchema::from_json(&schema).map_err(|error| complain(name, &error)).ok()?,
            None => RecordSchema::default(),
        };
        let version = facts["version"].as_str().unwrap_or_default().to_owned();
        let priority = facts["priority"].as_i64().and_then(|priority| i32::try_from(priority).ok()).unwrap_or_default();
        let schema = Subschema { name: name.clone(), record };
        Some(AvailablePlugin { priority, version: Cow::Owned(version), schema })
    };
    available.iter().filter_map(plugin).collect()
}

#[expect(clippy::print_stderr, reason = "an example's console")]
fn complain(what: &str, error: &dyn std::fmt::Display) {
    eprintln!("{what}: {error}");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().unwrap_or_default().parse().unwrap_or(8001);
    let place = arguments.next().unwrap_or_else(|| "/tmp".to_owned());
    let catalog = Arc::new(Catalog::new(RouterFlavor::TraditionalCompatible, plugins()));
    let layout = Arc::new(Layout::of(&catalog));
    let is_off = place == "off";
    let store: Arc<dyn Store> = if is_off {
        Arc::new(Off::new(layout, system_clock()))
    } else {
        Arc::new(Sqlite::open(&Path::new(&place).join("serve.db"), layout, system_clock())?)
    };
    let database = if is_off { "off" } else { "embedded" };
    let node = Idle { id: Uuid::new_v4(), database, log_level: Mutex::new("notice".to_owned()) };
    let api = Arc::new(Api::new(catalog, store, Arc::new(node), Settings::default()));
    for link in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let api = Arc::clone(&api);
        let link = link?;
        std::thread::spawn(move || {
            if let Err(error) = serve(&api, &link) {
                complain("connection", &error);
            }
        });
    }
    Ok(())
}

/// One request a connection.
fn serve(api: &Api, link: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(link);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request { method: method.into(), path: path.into(), query: query.into(), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    let response = api.handle(request);
    let mut head = format!("HTTP/1.1 {} OK\r\nConnection: close\r\n", response.status);
    if response.status != 204 && response.status != 304 {
        head.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
    }
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut link = link;
    link.write_all(format!("{head}\r\n").as_bytes())?;
    link.write_all(&response.body)
}
