//! Sinks that hang, end, answer garbage or never come to an end: requests are answered, the memory stays bounded, and what could
//! not be sent is counted.

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually};
use crate::upstream::Upstream;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    /// Takes connections, and reads and says nothing.
    Hangs,
    /// Reads all, and never answers.
    Mute,
    /// Ends each connection at once.
    Ends,
    /// Speaks no protocol.
    Garbage,
    /// Begins an answer and goes on with it, byte by byte, without end.
    Drips,
}

const REQUESTS: usize = 1500;
/// Far above what requests take here, and far below what the sinks would make them wait.
const LONGEST: Duration = Duration::from_secs(5);
const MOST_MEMORY: u64 = 64 << 20;

impl Sink {
    fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                match self {
                    Sink::Hangs => held.push(stream),
                    Sink::Ends => drop(stream),
                    // The gateway ends a connection as it likes.
                    _ => drop(std::thread::spawn(move || drop(self.serve(&stream)))),
                }
            }
        });
        at
    }

    fn serve(self, mut stream: &TcpStream) -> std::io::Result<()> {
        let (mut room, mut reader) = ([0; 1 << 16], stream.try_clone()?);
        if self == Sink::Garbage {
            stream.write_all(b"\0\xff\x16 neither this nor that\r\n\r\n\x01\x02\x03")?;
        }
        if self == Sink::Drips {
            let mut writer = stream.try_clone()?;
            std::thread::spawn(move || {
                let mut sent = writer.write_all(b"HTTP/1.1 200 OK\r\nX: ");
                while sent.is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                    sent = writer.write_all(b"x");
                }
            });
        }
        while reader.read(&mut room)? > 0 {}
        Ok(())
    }
}

/// Where each plugin sends to: those that await an answer, and those that do not.
struct Sinks {
    asking: [(&'static str, SocketAddr); 4],
    telling: [(&'static str, SocketAddr); 2],
}

fn kong_yml(upstream: &Upstream, sinks: &Sinks) -> String {
    let [(_, otlp), (_, grpc), (_, zipkin), (_, http)] = sinks.asking;
    let [(_, statsd), (_, tcp)] = sinks.telling;
    // Nobody is there; nobody says so.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let queue = json!({ "max_entries": 50, "max_retry_time": 0, "max_coalescing_delay": 0.05 });
    let plugin = |name: &str, config: Value| {
        let mut config = config;
        config["queue"] = queue.clone();
        json!({ "name": name, "config": config })
    };
    let telemetry = |endpoint: String, protocol: &str| {
        let times = json!({
            "traces_endpoint": endpoint, "protocol": protocol,
            "connect_timeout": 300, "send_timeout": 100, "read_timeout": 100,
        });
        json!([plugin("opentelemetry", times)])
    };
    let route = |path: &str, plugins: Value| json!({ "paths": [path], "plugins": plugins });
    let to = |at: SocketAddr| json!({ "host": "127.0.0.1", "port": at.port(), "timeout": 300 });
    let mut lines = json!({ "host": "127.0.0.1", "port": statsd.port(), "use_tcp": true });
    // Long lines fill what the system holds for a connection.
    lines["prefix"] = "p".repeat(4000).into();
    let of_times = json!({
        "http_endpoint": format!("http://{zipkin}/spans"), "sample_ratio": 1,
        "connect_timeout": 300, "send_timeout": 100, "read_timeout": 100,
    });
    json!({
        "_format_version": "3.0",
        "services": [{ "name": "up", "url": format!("http://{}", upstream.at), "routes": [
            route("/http", telemetry(format!("http://{otlp}/v1/traces"), "http/protobuf")),
            route("/grpc", telemetry(format!("http://{grpc}"), "grpc")),
        ] }],
        "plugins": [
            { "name": "prometheus" },
            plugin("zipkin", of_times),
            plugin("http-log", json!({ "http_endpoint": format!("http://{http}/logs"), "timeout": 300 })),
            plugin("tcp-log", to(tcp)),
            plugin("statsd", lines),
            plugin("udp-log", json!({ "host": "127.0.0.1", "port": closed })),
            plugin("loggly", json!({ "host": "127.0.0.1", "port": closed, "key": "k" })),
            plugin("datadog", json!({ "host": "127.0.0.1", "port": closed })),
        ],
    })
    .to_string()
}

/// The memory of the gateway's processes.
fn resident(gateway: &Gateway) -> u64 {
    let pages = |pid: &u32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default()
    };
    gateway.workers().iter().map(pages).sum::<u64>() * 4096
}

/// Sends requests over one connection, by turns to both routes; fails where one is not answered in time.
fn send(gateway: &Gateway, count: usize) {
    let mut client = Client::open(gateway.ports.proxy);
    let pad = format!("X-Pad: {}", "x".repeat(6000));
    for number in 0..count {
        let path = if number % 2 == 0 { "/http" } else { "/grpc" };
        let start = Instant::now();
        assert_eq!(client.get(path, &[&pad]).status, 200);
        assert!(start.elapsed() < LONGEST, "request {number} took {:?}", start.elapsed());
    }
}

#[test]
fn sinks_of_every_ill_will_delay_no_request_and_take_no_memory() {
    for sink in [Sink::Hangs, Sink::Mute, Sink::Ends, Sink::Garbage, Sink::Drips] {
        let upstream = Upstream::start();
        let sinks = Sinks {
            asking: ["opentelemetry", "opentelemetry", "zipkin", "http-log"].map(|plugin| (plugin, sink.start())),
            telling: ["statsd", "tcp-log"].map(|plugin| (plugin, sink.start())),
        };
        let properties = [("tracing_instrumentations", "all"), ("tracing_sampling_rate", "1")];
        let mut gateway = Gateway::start_with(&kong_yml(&upstream, &sinks), &properties);
        send(&gateway, 100);
        let before = resident(&gateway);
        send(&gateway, REQUESTS);
        let grown = resident(&gateway).saturating_sub(before);
        assert!(grown < MOST_MEMORY, "{sink:?}: {} MiB more", grown >> 20);
        // What needs no answer is lost only where nobody reads it, as far as the gateway can know.
        let silent = sinks.telling.iter().filter(|_| sink == Sink::Hangs);
        for (plugin, at) in sinks.asking.iter().chain(silent) {
            let counted = format!("silverback_log_messages_dropped_total{{plugin=\"{plugin}\"}} ");
            eventually(&format!("{sink:?}: drops of {plugin} are counted"), || {
                let scrape = get(gateway.ports.status, "/metrics", &[]).body;
                let count = scrape.lines().find_map(|line| line.strip_prefix(&counted)?.parse::<u64>().ok());
                count.is_some_and(|count| count > 0)
            });
            let has_told = |line: &str| line.contains(&at.to_string()) && line.contains(" dropped ");
            eventually(&format!("{sink:?}: the error log tells of drops of {plugin} to {at}"), || {
                gateway.output().lines().any(has_told)
            });
        }
        gateway.signal("TERM");
        assert!(gateway.wait().success(), "{sink:?}: nor do they hold up the end");
    }
}
