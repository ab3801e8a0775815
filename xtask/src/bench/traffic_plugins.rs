//! What the plugins of traffic, transformation, cache, logs, metrics and traces cost: processor time of a request on a route with
//! the plugin against one without, side by side. Time in the background counts, too.

use super::load::{self, Load};
use super::nginx;
use super::proxies::{Bench, Certificate, Proxy};
use super::{LOAD_CORE, PROXY_CORE, side_by_side};
use crate::client::{self, Connection};
use crate::gateway::{Gateway, Setting};
use crate::process::{Running, free_address, pin_thread, pinned};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::report::median;

const WARM_UP: Duration = Duration::from_secs(1);
const PLAIN: &str = "/plain";
const WITH: &str = "/with";

/// How much a request may cost.
#[derive(Clone, Copy)]
enum Goal {
    /// Microseconds more than without the plugin.
    More(f64),
    /// A multiple of what it costs without.
    Times(f64),
    /// A multiple of nginx's plain proxying in the same run.
    OfNginx(f64),
}

struct Case {
    name: &'static str,
    /// The plugins of the route, in YAML flow style; `{sink}` is a server that takes logs, spans and copies, `{port}` its port,
    /// `{redis}` a Redis.
    plugins: &'static str,
    properties: &'static [(&'static str, &'static str)],
    goal: Goal,
}

const LIMITS: &str = "minute: 1000000000, hour: 1000000000";
const TRACED: &[(&str, &str)] = &[("tracing_instrumentations", "all")];

const CASES: [Case; 13] = [
    Case {
        name: "rate-limiting",
        plugins: "{ name: rate-limiting, config: { policy: local, {limits} } }",
        properties: &[],
        goal: Goal::More(0.5),
    },
    Case {
        name: "rate-limiting-redis",
        plugins: "{ name: rate-limiting, config: { policy: redis, sync_rate: 0.1, redis: { {redis} }, {limits} } }",
        properties: &[],
        goal: Goal::More(1.0),
    },
    Case {
        name: "request-transformer",
        plugins: "{ name: request-transformer, config: { remove: { headers: [X-Gone] }, rename: { headers: [\"X-Old:X-New\"] }, \
                  replace: { headers: [\"User-Agent:bench\"] }, add: { headers: [\"X-One:1\"] }, append: { headers: [\"X-Two:2\"] } } }",
        properties: &[],
        goal: Goal::More(1.0),
    },
    Case {
        name: "prometheus",
        plugins: "{ name: prometheus, config: { status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true } }",
        properties: &[],
        goal: Goal::More(0.3),
    },
    Case {
        name: "http-log",
        plugins: "{ name: http-log, config: { http_endpoint: \"http://{sink}/logs\", queue: { max_batch_size: 1000 } } }",
        properties: &[],
        goal: Goal::More(2.0),
    },
    Case {
        name: "proxy-cache-hit",
        plugins: "{ name: proxy-cache, config: { strategy: memory } }",
        properties: &[],
        goal: Goal::Times(0.6),
    },
    Case {
        name: "opentelemetry-unsampled",
        plugins: "{ name: opentelemetry, config: { traces_endpoint: \"http://{sink}/v1/traces\", sampling_rate: 0 } }",
        properties: TRACED,
        goal: Goal::More(0.5),
    },
    Case {
        name: "opentelemetry-1-percent",
        plugins: "{ name: opentelemetry, config: { traces_endpoint: \"http://{sink}/v1/traces\", sampling_rate: 0.01 } }",
        properties: TRACED,
        goal: Goal::Times(1.03),
    },
    Case {
        name: "rate-limiting-advanced",
        plugins: "{ name: rate-limiting-advanced, config: { window_size: [60], limit: [1000000000] } }",
        properties: &[],
        goal: Goal::More(1.0),
    },
    Case {
        name: "canary",
        plugins: "{ name: canary, config: { percentage: 50, hash: none, upstream_host: localhost, upstream_port: {port} } }",
        properties: &[],
        goal: Goal::More(1.5),
    },
    Case {
        name: "mirror-1-percent",
        plugins: "{ name: request-mirror, config: { targets: [\"http://{sink}\"], percentage: 1 } }",
        properties: &[],
        goal: Goal::More(1.0),
    },
    Case {
        name: "mirror",
        plugins: "{ name: request-mirror, config: { targets: [\"http://{sink}\"], max_in_flight: 10000 } }",
        properties: &[],
        goal: Goal::Times(3.0),
    },
    Case {
        name: "ten-plugins",
        plugins: "{ name: correlation-id }, { name: cors }, { name: key-auth }, { name: ip-restriction, config: { allow: [127.0.0.1] } }, \
                  { name: request-size-limiting }, { name: rate-limiting, config: { policy: local, {limits} } }, \
                  { name: request-transformer, config: { add: { headers: [\"X-One:1\"] } } }, \
                  { name: response-transformer, config: { add: { headers: [\"X-Two:2\"] } } }, \
                  { name: prometheus, config: { status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true } }, \
                  { name: http-log, config: { http_endpoint: \"http://{sink}/logs\", queue: { max_batch_size: 1000 } } }",
        properties: &[],
        goal: Goal::OfNginx(1.6),
    },
];

type Other = (&'static str, fn(&Bench, &Beside) -> Result<Value>);

/// What is no comparison of a route with plugins and one without.
const OTHERS: [Other; 2] = [("sink-down", sink_down), ("scrape", scrape)];

/// Whether there is a case of this name.
pub(super) fn has(name: &str) -> bool {
    CASES.iter().any(|case| case.name == name) || OTHERS.iter().any(|other| other.0 == name)
}

/// What stands beside the gateway.
struct Beside {
    upstream: SocketAddr,
    redis: SocketAddr,
    certificate: Certificate,
    _running: [Running; 2],
}

impl Beside {
    fn start(bench: &Bench) -> Result<Beside> {
        let certificate = Certificate::make(&bench.scratch)?;
        let (nginx, upstream) = nginx::upstream(&bench.scratch.join("upstream"))?;
        let redis = free_address()?;
        let folder = bench.scratch.join("redis");
        std::fs::create_dir_all(&folder)?;
        let mut command = pinned(LOAD_CORE, Path::new("redis-server"));
        command.args(["--port", &redis.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let mut server = Running::start("redis", command, &folder.join("redis.log"))?;
        server.wait_until_listening(redis, Duration::from_secs(10))?;
        Ok(Beside { upstream, redis, certificate, _running: [nginx, server] })
    }

    /// A gateway with a route without plugins and one with these.
    fn gateway(&self, bench: &Bench, name: &str, plugins: &str, more: &[(&'static str, &str)]) -> Result<Proxy> {
        let redis = format!("host: 127.0.0.1, port: {}", self.redis.port());
        let plugins = plugins
            .replace("{sink}", &self.upstream.to_string())
            .replace("{port}", &self.upstream.port().to_string())
            .replace("{redis}", &redis)
            .replace("{limits}", LIMITS);
        let kong_yml = format!(
            "_format_version: \"3.0\"\nservices:\n  - name: up\n    url: http://{}\n    routes:\n      \
             - {{ name: plain, paths: [{PLAIN}], strip_path: false }}\n      \
             - {{ name: with, paths: [{WITH}], strip_path: false, plugins: [{plugins}] }}\n\
             consumers:\n  - {{ username: load, keyauth_credentials: [{{ key: {} }}] }}\n",
            self.upstream,
            super::proxies::KEY
        );
        self.start_gateway(bench, name, &kong_yml, more).map(|(proxy, _)| proxy)
    }

    fn start_gateway(
        &self,
        bench: &Bench,
        name: &str,
        kong_yml: &str,
        more: &[(&'static str, &str)],
    ) -> Result<(Proxy, SocketAddr)> {
        let folder = bench.scratch.join(name);
        std::fs::create_dir_all(&folder)?;
        let mut properties = bench.properties(&folder, kong_yml, &self.certificate)?;
        properties.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let setting = Setting {
            binary: bench.candidate.gateway()?,
            folder: &folder,
            properties: &properties,
            core: Some(PROXY_CORE),
        };
        let Gateway { running, ports, .. } = Gateway::start(&setting)?;
        Ok((Proxy { running, http: ports.proxy, tls: ports.tls }, ports.status))
    }
}

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let beside = Beside::start(bench)?;
    println!("plugins: CPU of a request in us, medians of {} rounds", bench.rounds);
    println!("  {:24} {:>8} {:>8} {:>8} {:>8}  goal", "case", "nginx", "without", "with", "more");
    let mut results = Vec::new();
    let is_asked = |name: &str| bench.plugins.is_empty() || bench.plugins.iter().any(|asked| asked == name);
    for case in CASES.iter().filter(|case| is_asked(case.name)) {
        // One that cannot be measured must not take the others with it.
        let figures = measure_case(bench, &beside, case).unwrap_or_else(|error| {
            println!("  {:24} not measured: {error:#}", case.name);
            json!({ "error": format!("{error:#}") })
        });
        results.push((case.name.to_owned(), figures));
    }
    for (name, measure) in OTHERS.iter().filter(|(name, _)| is_asked(name)) {
        let figures = measure(bench, &beside).unwrap_or_else(|error| {
            println!("  {name}: not measured: {error:#}");
            json!({ "error": format!("{error:#}") })
        });
        results.push(((*name).to_owned(), figures));
    }
    Ok(Value::Object(results.into_iter().collect()))
}

fn measure_case(bench: &Bench, beside: &Beside, case: &Case) -> Result<Value> {
    let folder = bench.scratch.join(case.name);
    let gateway = |name: &str| beside.gateway(bench, &format!("{}-{name}", case.name), case.plugins, case.properties);
    let (one, other) = (gateway("one")?, gateway("other")?);
    let nginx = bench.start_nginx(&folder.join("nginx"), beside.upstream, &beside.certificate)?;
    let loads = [PLAIN, WITH].map(|path| Load::Get { path, tls: false, header: Some(super::traffic::API_KEY) });
    for proxy in [&one, &other] {
        for (path, load) in [PLAIN, WITH].into_iter().zip(loads) {
            let answer = client::get(proxy.http, path, &[("apikey", super::proxies::KEY)])?;
            ensure!(answer.status == 200, "{path} was answered {}", answer.status);
            load::send(bench, load, proxy, WARM_UP, &folder)?;
        }
    }
    let compared = side_by_side::compare(bench, [&one, &other], &nginx, loads, &folder)?;
    let (figure, limit, unit) = match case.goal {
        Goal::More(limit) => (compared.more(), limit, "us more"),
        Goal::Times(limit) => (compared.times(), limit, "x without"),
        Goal::OfNginx(limit) => (compared.of_nginx(), limit, "x nginx"),
    };
    let said = if figure <= limit { "met" } else { "MISSED" };
    let side_by_side::Compared { without, with, nginx, .. } = &compared;
    let [a, b, c] = [nginx, without, with].map(|costs| median(costs.iter().copied()));
    let more = compared.more();
    println!("  {:24} {a:8.2} {b:8.2} {c:8.2} {more:8.2}  {limit} {unit}: {figure:.2}, {said}", case.name);
    Ok(json!({
        "nginx_us": nginx, "without_us": without, "with_us": with, "goal": limit, "unit": unit, "figure": figure,
    }))
}

/// Memory while a log's sink is down: what the gateway holds after some seconds and at the end.
fn sink_down(bench: &Bench, beside: &Beside) -> Result<Value> {
    const ROUNDS: u32 = 4;
    let dead = free_address()?;
    let plugins = format!(
        "{{ name: http-log, config: {{ http_endpoint: \"http://{dead}/\", queue: {{ max_batch_size: 100 }} }} }}"
    );
    let proxy = beside.gateway(bench, "sink-down", &plugins, &[])?;
    let folder = bench.scratch.join("sink-down");
    let load = Load::Get { path: WITH, tls: false, header: None };
    let round = bench.time_or(15) * 4;
    load::send(bench, load, &proxy, round, &folder)?;
    let early = proxy.running.memory().resident;
    for _ in 0..ROUNDS {
        load::send(bench, load, &proxy, round, &folder)?;
    }
    let late = proxy.running.memory().resident;
    let seconds = (round * (ROUNDS + 1)).as_secs();
    let times = late as f64 / early as f64;
    let said = if times <= 1.05 { "met" } else { "MISSED" };
    let [early_mb, late_mb] = [early, late].map(|kib| kib as f64 / 1024.0);
    println!(
        "  http-log, sink down: {early_mb:.1} MB after {round:?}, {late_mb:.1} MB after {seconds} s; goal flat (1.05 x): {times:.2}, {said}"
    );
    Ok(json!({ "early_kib": early, "late_kib": late, "seconds": seconds }))
}

/// A scrape of 100,000 series, and the traffic beside it.
fn scrape(bench: &Bench, beside: &Beside) -> Result<Value> {
    // A route has 49 lines of histograms, and three of counters.
    const ROUTES: usize = 2000;
    let mut kong_yml = format!(
        "_format_version: \"3.0\"\nservices:\n  - name: up\n    url: http://{}\n    routes:\n",
        beside.upstream
    );
    for n in 0..ROUTES {
        kong_yml += &format!("      - {{ name: route-{n}, paths: [/r{n}/] }}\n");
    }
    kong_yml += "plugins:\n  - name: prometheus\n    config: { status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true }\n";
    let (proxy, status) = beside.start_gateway(bench, "scrape", &kong_yml, &[])?;
    let folder = bench.scratch.join("scrape");
    let mut connection = Connection::open(proxy.http)?;
    for n in 0..ROUTES {
        let answer = connection.ask("GET", &format!("/r{n}/x"), &[], b"")?;
        ensure!(answer.status == 200, "route {n} was answered {}", answer.status);
    }
    let load = Load::Spread { count: ROUTES };
    let calm =
        median((0..bench.rounds).map(|_| p99(bench, load, &proxy, &folder)).collect::<Result<Vec<f64>>>()?.into_iter());
    let mut times = Vec::new();
    let mut lines = 0;
    for _ in 0..5 {
        let start = Instant::now();
        let answer = client::get(status, "/metrics", &[])?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        lines =
            answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#")).count();
    }
    let is_over = AtomicBool::new(false);
    let (busy, beside) = std::thread::scope(|scope| {
        // As often as Prometheus does at most.
        let scraper = scope.spawn(|| {
            pin_thread(LOAD_CORE)?;
            let mut times = Vec::new();
            while !is_over.load(Relaxed) {
                let start = Instant::now();
                scrape_gently(status)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(Duration::from_secs(1));
            }
            anyhow::Ok(times)
        });
        let measured: Result<Vec<f64>> = (0..bench.rounds).map(|_| p99(bench, load, &proxy, &folder)).collect();
        is_over.store(true, Relaxed);
        let times = scraper.join().unwrap_or_else(|_| anyhow::bail!("the thread that scrapes panicked"));
        anyhow::Ok((measured.context("while it is scraped")?, times.context("scraping")?))
    })?;
    let [time, busy, beside] = [times, busy, beside].map(|figures| median(figures.into_iter()));
    let verdict = |is_met: bool| if is_met { "met" } else { "MISSED" };
    println!("  a scrape of {lines} series: {time:.0} ms; goal 200 ms: {}", verdict(time <= 200.0));
    println!("  a scrape beside traffic on the same core: {beside:.0} ms");
    println!("  p99 of the traffic while scraped: {:.2} x; goal 1.1 x: {}", busy / calm, verdict(busy / calm <= 1.1));
    Ok(
        json!({ "series": lines, "scrape_ms": time, "scrape_beside_ms": beside, "p99_calm_us": calm, "p99_scraped_us": busy }),
    )
}

/// Reads a scrape as if from another machine: the core of load and upstream is kept busy for a little at a time.
fn scrape_gently(status: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(status)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut room = vec![0; 64 * 1024];
    while stream.read(&mut room)? > 0 {
        std::thread::yield_now();
    }
    Ok(())
}

/// In microseconds.
fn p99(bench: &Bench, load: Load, proxy: &Proxy, folder: &Path) -> Result<f64> {
    Ok(load::send(bench, load, proxy, bench.time(), folder)?.p99.as_secs_f64() * 1e6)
}
