//! What packaging/ has for Prometheus and Grafana, against what the gateway shows: promtool judges alerts and metrics, and a
//! Prometheus that scrapes the gateway answers every query of the dashboard.

use crate::client::{Answer, get};
use crate::gateway::{Gateway, eventually, free_address};
use crate::packages;
use crate::upstream::Upstream;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

fn packaging(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name).canonicalize().unwrap()
}

fn promtool(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(packages::program("promtool", "prometheus"));
    command.args(arguments).current_dir(packaging("prometheus")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// A gateway that has shown every metric there is.
fn gateway() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let kong_yml = format!(
        "_format_version: \"3.0\"\nservices:\n  - name: up\n    host: targets\n    routes:\n      - {{ name: r, paths: [/] }}\n\
         upstreams:\n  - name: targets\n    targets:\n      - {{ target: \"{}\" }}\n\
         plugins:\n  - name: prometheus\n    config: {{ status_code_metrics: true, latency_metrics: true, \
         bandwidth_metrics: true, upstream_health_metrics: true }}\n",
        upstream.at
    );
    let gateway = Gateway::start(&kong_yml);
    assert_eq!(get(gateway.ports.proxy, "/", &[]).status, 200);
    // It is counted after its answer was sent.
    eventually("the request is counted", || scrape(&gateway).contains("kong_bandwidth_bytes"));
    (upstream, gateway)
}

fn scrape(gateway: &Gateway) -> String {
    let Answer { status, body, .. } = get(gateway.ports.status, "/metrics", &[]);
    assert_eq!(status, 200, "{body}");
    body
}

/// The queries of the dashboard, with everything chosen.
fn queries() -> Vec<String> {
    let text = std::fs::read_to_string(packaging("grafana/silverback.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let chosen = |query: &str| {
        let variables = [("$__rate_interval", "1m"), ("$instance", ".*"), ("$service", ".*"), ("$route", ".*")];
        variables.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
    };
    let queries: Vec<String> = targets.map(|target| chosen(target["expr"].as_str().unwrap())).collect();
    assert!(queries.len() > 20, "{} queries", queries.len());
    queries
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("kong_")).map(str::to_owned).collect()
}

#[test]
fn promtool_takes_the_alerts_and_the_scrape() {
    for arguments in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        let (code, said) = promtool(arguments, "");
        assert_eq!(code, Some(0), "{said}");
    }
    let (_upstream, gateway) = gateway();
    // 3: readable, but with names that promtool would choose otherwise; they are Kong's.
    let (code, said) = promtool(&["check", "metrics"], &scrape(&gateway));
    assert!(matches!(code, Some(0 | 3)) && !said.contains("error while linting"), "{code:?} {said}");
}

#[test]
fn alerts_and_the_dashboard_ask_for_metrics_there_are() {
    let (_upstream, gateway) = gateway();
    let shown = metrics(&scrape(&gateway));
    let alerts = std::fs::read_to_string(packaging("prometheus/alerts.yml")).unwrap();
    for name in metrics(&(alerts + &queries().join("\n"))) {
        assert!(shown.contains(&name), "{name} is not among {shown:?}");
    }
}

/// What the dashboard that Kong itself gives away asks for: metrics, with the labels that it filters and groups by, and the values
/// that it chooses. (Its sum of bandwidth by `type` is empty with Kong, too.)
const OFFICIAL: [(&str, &[&str], &[&str]); 10] = [
    ("kong_http_requests_total", &["service", "route", "code"], &[]),
    ("kong_kong_latency_ms_bucket", &["service", "route", "le"], &[]),
    ("kong_request_latency_ms_bucket", &["service", "route", "le"], &[]),
    ("kong_upstream_latency_ms_bucket", &["service", "route", "le"], &[]),
    ("kong_bandwidth_bytes", &["service", "route"], &["direction=\"egress\"", "direction=\"ingress\""]),
    ("kong_memory_lua_shared_dict_bytes", &["shared_dict", "kong_subsystem"], &[]),
    ("kong_memory_lua_shared_dict_total_bytes", &["shared_dict", "kong_subsystem"], &[]),
    ("kong_memory_workers_lua_vms_bytes", &["pid", "kong_subsystem"], &[]),
    (
        "kong_upstream_target_health",
        &["upstream", "target", "address"],
        &["state=\"healthchecks_off\"", "state=\"healthy\"", "state=\"unhealthy\"", "state=\"dns_error\""],
    ),
    (
        "kong_nginx_connections_total",
        &[],
        &[
            "state=\"active\"",
            "state=\"reading\"",
            "state=\"writing\"",
            "state=\"waiting\"",
            "state=\"total\"",
            "state=\"handled\"",
            "state=\"accepted\"",
        ],
    ),
];

#[test]
fn kongs_own_dashboard_finds_its_metrics_and_labels() {
    let (_upstream, gateway) = gateway();
    let scrape = scrape(&gateway);
    for (name, labels, values) in OFFICIAL {
        let series: Vec<(&str, &str)> =
            scrape.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")).collect();
        assert!(!series.is_empty(), "{name} is not in {scrape}");
        for (told, value) in &series {
            let names: BTreeSet<&str> = told.split("\",").filter_map(|label| Some(label.split_once('=')?.0)).collect();
            assert!(labels.iter().all(|label| names.contains(label)), "{name}: {told} has not {labels:?}");
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{name}: {value}");
        }
        for value in values {
            assert!(series.iter().any(|(told, _)| told.contains(value)), "{name}: no {value} in {series:?}");
        }
    }
    // A share of memory divides two metrics of equal labels.
    let of = |name: &str| -> BTreeSet<String> {
        let lines = scrape.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once('}'));
        lines.map(|(labels, _)| labels.to_owned()).collect()
    };
    let used = of("kong_memory_lua_shared_dict_bytes");
    assert_eq!(used, of("kong_memory_lua_shared_dict_total_bytes"));
    assert!(used.iter().any(|labels| labels.contains("shared_dict=\"kong_db_cache\"")), "{used:?}");
}

/// A Prometheus that scrapes a gateway every second; it ends with the value.
struct Prometheus {
    at: std::net::SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(gateway: &Gateway) -> Prometheus {
        let (at, folder) = (free_address(), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: silverback\n    static_configs:\n      - targets: [\"{}\"]\n",
            gateway.ports.status
        );
        std::fs::write(path("prometheus.yml"), config).unwrap();
        let mut command = Command::new(packages::program("prometheus", "prometheus"));
        command.arg(format!("--config.file={}", path("prometheus.yml")));
        command.arg(format!("--storage.tsdb.path={}", path("data"))).arg(format!("--web.listen-address={at}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let prometheus = Prometheus { at, child, _folder: folder };
        eventually("prometheus takes connections", || std::net::TcpStream::connect(at).is_ok());
        prometheus
    }

    /// The answer to a query.
    fn ask(&self, query: &str) -> Value {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = get(self.at, &format!("/api/v1/query?query={escaped}"), &[]);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_the_gateway_and_answers_the_dashboards_queries() {
    let (_upstream, gateway) = gateway();
    let prometheus = Prometheus::scraping(&gateway);
    let count = |query: &str| prometheus.ask(query)["data"]["result"].as_array().map_or(0, Vec::len);
    eventually("a rate needs two scrapes", || {
        get(gateway.ports.proxy, "/", &[]);
        count("rate(kong_http_requests_total[1m]) > 0") > 0
    });
    assert_eq!(count("up{job=\"silverback\"} == 1"), 1);
    let mut empty = Vec::new();
    for query in queries() {
        let answer = prometheus.ask(&query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        if answer["data"]["result"].as_array().is_none_or(Vec::is_empty) {
            empty.push(query);
        }
    }
    // There are no errors and no unhealthy targets; all else has an answer.
    let is_expected = |query: &String| query.contains("5..") || query.contains("unhealthy");
    assert!(empty.iter().all(is_expected), "{empty:?}");
}
