//! Nodes on PostgreSQL: the tables are made first, nodes follow each other, and traffic outlives the database.

use crate::client::{Answer, Client, get};
use crate::gateway::{Ports, configure, eventually, free_address};
use crate::program::{run, said};
use crate::upstream::Upstream;
use serde_json::Value;
use std::cell::Cell;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `xtask/postgres.sh`, which lives until its standard input ends.
struct Server {
    script: Child,
    says: Lines<BufReader<ChildStdout>>,
    told: Option<ChildStdin>,
    at: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let at = free_address();
        // Below a folder that everybody can enter: the server has a user of its own.
        let folder = std::env::temp_dir().join(format!("silverback-e2e-{}", at.port()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/postgres.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(folder).arg(at.port().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let says = BufReader::new(script.stdout.take().unwrap()).lines();
        let told = script.stdin.take();
        let mut server = Server { script, says, told, at };
        server.expect("ready");
        server
    }

    fn expect(&mut self, word: &str) {
        let said = self.says.next().expect("the script says above why it ended").unwrap();
        assert_eq!(said, word);
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.told.as_mut().unwrap(), "{word}").unwrap();
        self.expect("done");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.told.take());
        let _ = self.script.wait();
    }
}

/// A gateway in the background, which can be started again.
struct Node {
    folder: TempDir,
    ports: Ports,
    conf: String,
}

impl Node {
    fn on(server: &Server) -> Node {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
        let port = server.at.port().to_string();
        let properties = [
            ("database", "postgres"),
            ("declarative_config", ""),
            ("pg_port", port.as_str()),
            ("pg_password", "kong"),
            ("pg_timeout", "2000"),
            ("pg_ssl", "on"),
        ];
        let conf = configure(&folder, ports, "", &properties);
        Node { folder, ports, conf }
    }

    fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = run(&[arguments, &["-c", &self.conf]].concat());
        (output.status.code(), said(&output))
    }

    fn start(&self) {
        let (code, said) = self.command(&["start"]);
        assert_eq!(code, Some(0), "{said}");
    }

    fn stop(&self) {
        let prefix = self.folder.path().join("prefix");
        run(&["stop", "-p", prefix.to_str().unwrap()]);
    }

    fn send(&self, method: &str, path: &str, json: &str) -> Answer {
        let mut client = Client::open(self.ports.admin);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        client.send(head.as_bytes()).unwrap();
        client.answer().unwrap()
    }

    fn proxied(&self, path: &str) -> u16 {
        get(self.ports.proxy, path, &[]).status
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.folder.path().join("prefix/logs/error.log");
            eprintln!("the gateway said:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
    }
}

#[test]
fn tables_are_made_nodes_follow_each_other_and_traffic_outlives_the_database() {
    let (mut server, upstream) = (Server::start(), Upstream::start());
    let (one, two) = (Node::on(&server), Node::on(&server));
    let migrations = |action: &str, code: i32, text: &str| {
        let (found, said) = one.command(&["migrations", action, "-y"]);
        assert!(found == Some(code) && said.contains(text), "migrations {action}: {found:?}: {said}");
    };
    let (code, said) = one.command(&["start"]);
    assert!(code == Some(1) && said.contains("run 'silverback migrations bootstrap'"), "{code:?}: {said}");
    migrations("list", 3, "bootstrap");
    migrations("up", 1, "Database needs bootstrapping");
    migrations("bootstrap", 0, "Database is up-to-date");
    migrations("bootstrap", 0, "Database already bootstrapped");
    migrations("list", 0, "025_390_to_3100");
    migrations("status", 0, "\"needs_bootstrap\": false");
    migrations("up", 0, "Database is already up-to-date");
    migrations("finish", 0, "No pending migrations to finish");

    one.start();
    two.start();
    let service = format!(r#"{{"name": "up", "url": "http://{}"}}"#, upstream.at);
    assert_eq!(one.send("POST", "/services", &service).status, 201);
    // With fields that Kong does not have, in columns of their own.
    let beyond = r#""read_timeout":7000,"retries":2,"retry_policy":{"http_statuses":[503],"methods":null,"failures":["connect"],"backoff":null},"path_forwarding":"raw""#;
    let route = format!(r#"{{"name": "r", "paths": ["/a"], {beyond}}}"#);
    let created = one.send("POST", "/services/up/routes", &route);
    assert_eq!(created.status, 201, "{}", created.body);
    for node in [&one, &two] {
        let read: Value = serde_json::from_str(&node.send("GET", "/routes/r", "").body).unwrap();
        let wanted: Value = serde_json::from_str(&format!("{{{beyond}}}")).unwrap();
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&read[name], value, "{name} of {read}");
        }
        assert!(read.get("connect_timeout").is_none() && read.get("request_timeout").is_none(), "{read}");
    }
    let answered = Instant::now();
    assert_eq!(one.proxied("/a"), 200);
    eventually("the other node serves it", || two.proxied("/a") == 200);
    // The first change may come before the other node listens.
    println!("the other node served the first route {:?} after it was made", answered.elapsed());
    for turn in 0..5 {
        let path = format!("/turn{turn}");
        let changed = one.send("PATCH", "/routes/r", &format!(r#"{{"paths": ["{path}", "/a"]}}"#));
        let answered = Instant::now();
        assert_eq!(changed.status, 200);
        eventually("the other node serves the change", || two.proxied(&path) == 200);
        assert!(answered.elapsed() < Duration::from_millis(100), "{:?}", answered.elapsed());
    }
    marks_are_told(&one, &two);
    let exported = one.folder.path().join("out.yml").display().to_string();
    let (code, said) = one.command(&["config", "db_export", &exported]);
    assert_eq!(code, Some(0), "{said}");
    assert!(one.command(&["config", "db_export", &exported]).1.contains("Will not overwrite it"));

    let (over, failed, passed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let counter = if one.proxied("/a") == 200 { &passed } else { &failed };
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        server.tell("stop");
        let refused = one.send("POST", "/services", r#"{"url": "http://nowhere.test"}"#);
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.body.contains("database cannot be reached"), "{}", refused.body);
        assert_eq!(one.send("GET", "/services", "").status, 503);
        // A node that starts now serves what it knew last.
        two.stop();
        two.start();
        assert_eq!(two.proxied("/turn4"), 200);
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(failed.into_inner(), 0);
    assert!(passed.into_inner() > 0);

    server.tell("start");
    eventually("writes are taken again", || one.send("DELETE", "/routes/r", "").status == 204);
    eventually("the restarted node has caught up", || two.proxied("/a") == 404);

    // Everything back from the file that was written before.
    let (code, said) = two.command(&["config", "db_import", &exported]);
    assert!(code == Some(0) && said.contains("import successful"), "{code:?}: {said}");
    eventually("both nodes serve what was imported", || one.proxied("/turn4") == 200 && two.proxied("/turn4") == 200);
    let embedded = tempfile::tempdir().unwrap();
    let conf = configure(&embedded, Ports::free(), "", &[("database", "embedded"), ("declarative_config", "")]);
    let admin = format!("http://{}", one.ports.admin);
    let imported = run(&["import", "--from-admin", &admin, "-c", &conf]);
    assert!(imported.status.success(), "{}", crate::program::said(&imported));
    assert!(
        crate::program::said(&imported).contains("imported: 1 routes, 1 services"),
        "{}",
        crate::program::said(&imported)
    );
    let copy = embedded.path().join("copy.db").display().to_string();
    let copied = run(&["backup", &copy, "-c", &conf]);
    assert!(copied.status.success() && Path::new(&copy).exists(), "{}", crate::program::said(&copied));

    one.stop();
    two.stop();
    migrations("reset", 0, "Database successfully reset");
    migrations("reset", 1, "nothing to reset");
}

/// A target that is marked by hand on one node is marked on the other.
fn marks_are_told(one: &Node, two: &Node) {
    let checks = r#"{"name": "pool", "healthchecks": {"passive": {"unhealthy": {"tcp_failures": 1}}}}"#;
    assert_eq!(one.send("POST", "/upstreams", checks).status, 201);
    assert_eq!(one.send("POST", "/upstreams/pool/targets", r#"{"target": "127.0.0.1:9"}"#).status, 201);
    for (path, state) in [("", "unhealthy"), ("", "healthy"), ("/127.0.0.1:9", "unhealthy")] {
        let marked = one.send("PUT", &format!("/upstreams/pool/targets/127.0.0.1:9{path}/{state}"), "");
        assert_eq!(marked.status, 204, "{}", marked.body);
        let word = format!("\"health\":\"{}\"", state.to_uppercase());
        eventually("the other node has heard of it", || {
            two.send("GET", "/upstreams/pool/health", "").body.contains(&word)
        });
    }
    assert_eq!(one.send("DELETE", "/upstreams/pool", "").status, 204);
}

/// Sends requests of a client until one is refused; how many were let through.
fn until_refused(node: &Node, client: &str) -> usize {
    (0..1000).take_while(|_| get(node.ports.proxy, "/", &[&format!("X-Client: {client}")]).status == 200).count()
}

#[test]
fn nodes_of_a_database_count_together_and_each_for_itself_while_it_is_away() {
    let (mut server, upstream) = (Server::start(), Upstream::start());
    let nodes = [Node::on(&server), Node::on(&server)];
    assert_eq!(nodes[0].command(&["migrations", "bootstrap"]).0, Some(0));
    nodes.iter().for_each(Node::start);
    let service = format!(r#"{{"name": "up", "url": "http://{}"}}"#, upstream.at);
    assert_eq!(nodes[0].send("POST", "/services", &service).status, 201);
    for (name, path) in [("r", "/"), ("video", "/video"), ("advanced", "/advanced")] {
        let route = format!(r#"{{"name": "{name}", "paths": ["{path}"]}}"#);
        assert_eq!(nodes[0].send("POST", "/services/up/routes", &route).status, 201);
    }
    let plugins = [
        ("/routes/r", r#""rate-limiting", "config": {"year": 33, "limit_by": "header", "header_name": "X-Client""#),
        ("/routes/video", r#""response-ratelimiting", "config": {"limits": {"video": {"year": 100000}}"#),
    ];
    let advanced = r#"{"name": "rate-limiting-advanced", "config": {"limit": [33], "window_size": [31536000],
        "window_type": "fixed", "compound_identifier": ["ip", "header"], "header_name": "X-Client", "strategy": "cluster",
        "sync_rate": 0.5, "namespace": "n"}}"#;
    assert_eq!(nodes[0].send("POST", "/routes/advanced/plugins", advanced).status, 201);
    for (scope, plugin) in plugins {
        let plugin = format!(r#"{{"name": {plugin}, "policy": "cluster"}}}}"#);
        let made = nodes[0].send("POST", &format!("{scope}/plugins"), &plugin);
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let send_to =
        |node: &Node, path: &str, client: &str| get(node.ports.proxy, path, &[&format!("X-Client: {client}")]);
    let send = |node: &Node, client: &str| send_to(node, "/", client);
    let left = |answer: &Answer| -> i64 {
        answer.header("x-ratelimit-remaining-year").and_then(|left| left.parse().ok()).unwrap_or(-1)
    };
    eventually("the other node has the plugins", || left(&send(&nodes[1], "warm")) >= 0);

    // At once: no node lets more than the limit through, whatever it knows of the other.
    let rounds = |client: &str| -> usize {
        let at = nodes.each_ref().map(|node| node.ports.proxy);
        std::thread::scope(|scope| {
            let send = |at: SocketAddr| {
                (0..5).filter(|_| get(at, "/", &[&format!("X-Client: {client}")]).status == 200).count()
            };
            let rounds = at.map(|at| scope.spawn(move || send(at)));
            rounds.into_iter().map(|round| round.join().unwrap()).sum()
        })
    };
    let total: usize = std::iter::from_fn(|| Some(rounds("a")).filter(|passed| *passed > 0)).sum();
    assert!((33..=66).contains(&total), "{total} of 33");

    // One after the other, with the sync waited for: exactly the limit.
    eventually("the other node has the last plugin", || left(&send_to(&nodes[1], "/advanced", "warm")) >= 0);
    for path in ["/", "/advanced"] {
        let first = (0..20).filter(|_| send_to(&nodes[0], path, "b").status == 200).count();
        let mut second = 0;
        eventually("the second node knows of the first one's", || {
            second += 1;
            // Each request counts: there must be some left when it knows.
            std::thread::sleep(Duration::from_millis(300));
            let answer = send_to(&nodes[1], path, "b");
            assert_eq!(answer.status, 200, "{path}");
            left(&answer) == 33 - 20 - second
        });
        let rest = (0..100).take_while(|_| send_to(&nodes[1], path, "b").status == 200).count();
        assert_eq!((first, second + rest as i64), (20, 13), "{path}");
        eventually("the first node knows of the second one's", || send_to(&nodes[0], path, "b").status == 429);
    }

    // What responses cost is shared likewise: a node learns of the others' with its own.
    let video = |node: &Node, cost: i64| -> i64 {
        let answer = get(node.ports.proxy, "/video", &[&format!("X-Answer: X-Kong-Limit: video={cost}")]);
        answer.header("x-ratelimit-remaining-video-year").and_then(|left| left.parse().ok()).unwrap_or(-1)
    };
    eventually("the other node has the plugin", || video(&nodes[1], 0) == 100_000);
    assert_eq!(video(&nodes[0], 4), 99_996);
    let mut spent = 0;
    eventually("the second node knows what the first one's responses cost", || {
        spent += 1;
        video(&nodes[1], 1) == 99_996 - spent
    });

    // Without the database each node goes on to count for itself, and tells it later.
    server.tell("stop");
    assert_eq!(nodes.each_ref().map(|node| until_refused(node, "d")), [33, 33]);
    assert_eq!(nodes.each_ref().map(|node| until_refused(node, "b")), [0, 0]);
    assert_eq!(until_refused(&nodes[0], "e"), 33);
    server.tell("start");
    let passed = Cell::new(0);
    eventually("the second node learns what the first one counted meanwhile", || {
        let is_passed = send(&nodes[1], "e").status == 200;
        passed.set(passed.get() + usize::from(is_passed));
        std::thread::sleep(Duration::from_millis(300));
        !is_passed
    });
    assert!(passed.get() < 33, "it has counted {} by itself", passed.get());
}
