//! What a look-up costs: nanoseconds each, over routers of several sizes. `c run --profile quick -p router --example speed`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use router::{Flavor, NoFields, Protocol, Query, Route, Router};
use uuid::Uuid;

fn route(number: usize, kind: Kind) -> Route {
    let list = |text: String| Some([text].into());
    let mut route = Route {
        id: Uuid::from_u128(number as u128 + 1),
        protocols: ["http", "https"].map(str::to_owned).into_iter().collect(),
        ..Route::default()
    };
    let path = format!("/api/{}/v{number}/items", ["users", "orders", "billing", "search"][number % 4]);
    match kind {
        Kind::Paths => route.paths = list(path),
        Kind::Hosts => route.hosts = list(format!("service-{number}.example.com")),
        // 5 % regexes, a tenth wildcards, a third exact hosts with paths, the rest paths.
        Kind::Mixed if number.is_multiple_of(20) => route.paths = list(format!("~/api/{number}/(?<id>[0-9]+)$")),
        Kind::Mixed if number % 10 == 1 => {
            route.hosts = list(format!("*.tenant-{}.example.com", number / 30));
            route.paths = list(path);
        }
        Kind::Mixed if number.is_multiple_of(3) => {
            route.hosts = list(format!("service-{}.example.com", number / 9));
            route.paths = list(path);
        }
        Kind::Mixed => route.paths = list(path),
        Kind::Alike => route.paths = list(format!("~/[a-z]+/v{number}/items")),
    }
    route
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Paths,
    Hosts,
    Mixed,
    /// Regexes without a literal that tells them apart.
    Alike,
}

/// A request that the route of this number matches.
fn request(number: usize, kind: Kind) -> (String, String) {
    let route = route(number, kind);
    let host = route.hosts.iter().flatten().next().map_or("service.test".to_owned(), |host| host.replace('*', "eu"));
    let path = match route.paths.iter().flatten().next() {
        Some(_) if matches!(kind, Kind::Alike) => format!("/users/v{number}/items"),
        Some(path) if path.starts_with('~') => format!("/api/{number}/42"),
        Some(path) => format!("{path}/17"),
        None => "/some/where".to_owned(),
    };
    (host, path)
}

fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn measure(flavor: Flavor, kind: Kind, count: usize) {
    let before = resident_kilobytes();
    let routes: Vec<_> = (0..count).map(|number| Arc::new(route(number, kind))).collect();
    let loaded = resident_kilobytes();
    let started = Instant::now();
    let (router, errors) = Router::build(flavor, routes);
    let built = started.elapsed();
    assert!(errors.is_empty());
    let memory = resident_kilobytes().saturating_sub(loaded);
    let requests: Vec<_> = (0..4096).map(|at| request(at * 7919 % count, kind)).collect();
    let mut best = Duration::MAX;
    let rounds = 25;
    for _ in 0..rounds {
        let started = Instant::now();
        for (host, path) in &requests {
            let query = Query {
                protocol: Protocol::Http,
                method: "GET",
                host: Some(host.as_bytes()),
                path: path.as_bytes(),
                sni: None,
                source: None,
                destination: None,
                fields: &NoFields,
            };
            assert!(black_box(router.find(black_box(&query))).is_some());
        }
        best = best.min(started.elapsed());
    }
    let each = best.as_nanos() as f64 / requests.len() as f64;
    let started = Instant::now();
    let (changed, _) = router.with_changes(&[], [Arc::new(route(count / 2, kind))]);
    let change = started.elapsed();
    assert_eq!(changed.len(), count);
    report(&format!(
        "{flavor:?} {kind:?} {count:>7} routes: {each:>7.0} ns a look-up, built in {:>7.1} ms, one change {:>6.0} us, {:>6} KiB (routes {} KiB)",
        built.as_secs_f64() * 1e3,
        change.as_secs_f64() * 1e6,
        memory,
        loaded.saturating_sub(before),
    ));
}

#[expect(clippy::print_stdout, reason = "a program that prints its measurements")]
fn report(line: &str) {
    println!("{line}");
}

fn main() {
    for flavor in [Flavor::TraditionalCompatible, Flavor::Traditional, Flavor::Expressions] {
        for kind in [Kind::Paths, Kind::Hosts, Kind::Mixed] {
            for count in [1, 10_000, 100_000] {
                measure(flavor, kind, count);
            }
        }
        for count in [1, 100, 1_000, 5_000] {
            measure(flavor, Kind::Alike, count);
        }
    }
}
