//! What the plugins of authentication and access add to a request: processor time over the same route without the plugin,
//! side by side; and what slow hashes of passwords do to others.

use super::load::Load;
use super::proxies::{Bench, Certificate, Proxy};
use super::report::median;
use super::{PROXY_CORE, nginx, side_by_side};
use crate::client::Connection;
use crate::gateway::{Gateway, Setting};
use crate::process::pinned;
use crate::project;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: usize = 1_000_000;
const RANGES: u32 = 100_000;
/// Signed with `secret-of-the-benchmark`, and with the key of PUBLIC_KEY.
const HS256: &str = "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJocyIsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoibG9hZCJ9.L1mQ5Wy6CQq6chKE_q92DkdCjDITRts5rLepLs_9l1M";
const RS256: &str = "Authorization: Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJycyIsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoibG9hZCJ9.wkF0qW1AbJ1cM0i0bxlm5TdP-oaHLDQi3GuWVj7NYiqlUIbO3tFoWei_Bd6_ivd2-Bk6pVBtY9rwsSF0xdR4emTT_E8Elia4JFGmeb047mfo8l6W-_bLd5hJncETkRruWnxiguOM7WVcBK5RR2XQUAOdHNyhQyY_qv2tR0fCLbJRNEk-MPCQ8oQM3chpJa74dQu3FwdOnDHQv5M1eJcbhGDB8YXKG9ZZYR934IhbV1v9-0tbe9k3v15-1jZ8rI18MNUtUj0OspzmxrzixWWu938n0mnUuS8-AOKF7kXKK5jd-F1FP0-WQLem0GQlEUUvea0QCQYYE06Cpcr9gpeGfA";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1X5VTi2toNngRhLvzSGx\n80f5aL1n1/V0VslSnHvhs2BVOVKrQdSSns8YJjxq+QiqsFMi1GaeyI+je1DpJ5jy\nGw+jYGBTZojxTuHLRV/Ad2xD2w0JBx8zux+9cz/D534gQpIieHl0K0g7XAIck3Dh\n7wG6lstjne7xERhISjEUm8NZXT/72Q34XLzKJx3uowOU1oAmWZIvL9iKGZARvHKf\n+0i04u2FvffomN6wCz+e2ETrfjPyYGz7xM9ecgTeWn4W4f7v2HrMfOlgHaAiRfMg\nvcEi7q6mlHg4C2w3sz5qEr27e5YLqJyoYkNSMCTND7isxYz4z4jg/DeqmSPDSmJT\nawIDAQAB\n-----END PUBLIC KEY-----\n";
/// OWASP's least: 19 MiB, two passes.
const ARGON2ID: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRvZnRoZWJlbmNo$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const LOGINS_A_SECOND: u32 = 50;

struct Case {
    name: &'static str,
    /// The route, and the one that it is compared with.
    path: &'static str,
    base: &'static str,
    header: &'static str,
    /// Microseconds.
    goal: f64,
}

const fn case(name: &'static str, path: &'static str, header: &'static str, goal: f64) -> Case {
    Case { name, path, base: "/plain", header, goal }
}

const CASES: [Case; 8] = [
    case("key-auth, 1,000,000 keys", "/key-auth", "apikey: key-777777", 0.6),
    Case { name: "acl", path: "/acl", base: "/key-auth", header: "apikey: key-777777", goal: 0.3 },
    case("cors", "/cors", "Origin: https://shop.example.com", 0.3),
    case("ip-restriction, 100,000 ranges", "/ip-restriction", "Accept: */*", 0.3),
    case(
        "bot-detection",
        "/bot-detection",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        0.3,
    ),
    case("basic-auth, SHA-1", "/basic-auth", "Authorization: Basic bG9hZDp3b25kZXJsYW5k", 1.5),
    case("jwt, HS256", "/jwt", HS256, 3.0),
    // The goal is 1.2 times the bare verification, which is measured too.
    case(RS256_CASE, "/jwt", RS256, f64::NAN),
];
const RS256_CASE: &str = "jwt, RS256";

pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let folder = bench.scratch.join("access");
    std::fs::create_dir_all(&folder)?;
    let certificate = Certificate::make(&folder)?;
    let (_upstream, upstream) = nginx::upstream(&folder.join("upstream"))?;
    let one = start(bench, &folder.join("one"), upstream, &certificate)?;
    let other = start(bench, &folder.join("other"), upstream, &certificate)?;
    let nginx = bench.start_nginx(&folder.join("nginx"), upstream, &certificate)?;
    let bare = bare_rs256()?;
    println!("access: a bare verification of RS256 takes {bare:.1} us");
    let mut figures = Vec::new();
    for case in &CASES {
        let loads = [case.base, case.path].map(|path| Load::Get { path, tls: false, header: Some(case.header) });
        for (proxy, load) in [&one, &other].into_iter().flat_map(|proxy| loads.map(|load| (proxy, load))) {
            super::load::send(bench, load, proxy, Duration::from_secs(1), &folder)?;
        }
        let compared =
            side_by_side::compare(bench, [&one, &other], &nginx, loads, &folder).with_context(|| case.name)?;
        let (added, nginx) = (compared.more(), median(compared.nginx.iter().copied()));
        let goal = if case.name == RS256_CASE { 1.2 * bare } else { case.goal };
        let verdict = if added <= goal { "met" } else { "MISSED" };
        println!(
            "access: {} adds {added:.2} us (goal {goal:.1} us: {verdict}; nginx's proxying takes {nginx:.1} us)",
            case.name
        );
        figures.push(json!({ "case": case.name, "added_us": added, "goal_us": goal, "nginx_us": nginx }));
    }
    let (alone, beside) = logins(bench, &one)?;
    let verdict = if beside - alone <= 5.0 { "met" } else { "MISSED" };
    println!(
        "access: p99 of another route {alone:.2} ms, beside {LOGINS_A_SECOND} argon2id logins a second {beside:.2} ms (goal 5 ms more at most: {verdict})"
    );
    Ok(json!({ "added": figures, "bare_rs256_us": bare, "p99_ms": { "alone": alone, "beside_logins": beside } }))
}

fn start(bench: &Bench, folder: &Path, upstream: SocketAddr, certificate: &Certificate) -> Result<Proxy> {
    std::fs::create_dir_all(folder)?;
    let properties = bench.properties(folder, &kong_yml(&upstream.to_string()), certificate)?;
    let setting =
        Setting { binary: bench.candidate.gateway()?, folder, properties: &properties, core: Some(PROXY_CORE) };
    let Gateway { running, ports, .. } = Gateway::start(&setting)?;
    Ok(Proxy { running, http: ports.proxy, tls: ports.tls })
}

/// The 99th percentile of a route without plugins in milliseconds, alone and while others log in with wrong passwords, which
/// nobody remembers.
fn logins(bench: &Bench, proxy: &Proxy) -> Result<(f64, f64)> {
    let time = bench.time().max(Duration::from_secs(3));
    let alone = p99(proxy, time)?;
    let is_over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                scope.spawn(move || {
                    let mut connection = Connection::open(proxy.http)?;
                    // "argon:" and six digits, in Base64.
                    let shown = base64(format!("argon:{number:06}").as_bytes());
                    connection.ask("GET", "/basic-auth", &[("Authorization", &format!("Basic {shown}"))], b"")
                });
                std::thread::sleep(Duration::from_secs(1) / LOGINS_A_SECOND);
            }
        });
        let beside = p99(proxy, time);
        is_over.store(true, Ordering::Relaxed);
        beside
    });
    Ok((alone, beside?))
}

fn p99(proxy: &Proxy, time: Duration) -> Result<f64> {
    let mut connection = Connection::open(proxy.http)?;
    let (end, mut took) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let begin = Instant::now();
        let answer = connection.ask("GET", "/plain", &[], b"")?;
        ensure!(answer.status == 200, "a request was answered {}", answer.status);
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort_by(f64::total_cmp);
    took.get(took.len() * 99 / 100).copied().context("nothing was answered")
}

/// Microseconds of a verification by the library alone, on the proxy's core.
fn bare_rs256() -> Result<f64> {
    // The library is C and assembler, which is the same in every profile.
    let program = project::build("quick", "--example", "rs256")?;
    let output = pinned(PROXY_CORE, &program).output().context("cannot run the example rs256")?;
    String::from_utf8_lossy(&output.stdout).trim().parse().context("rs256 prints a number")
}

fn kong_yml(upstream: &str) -> String {
    let ranges: Vec<String> = (0..RANGES).map(|n| format!("10.{}.{}.0/25", n / 256 % 256, n % 256)).collect();
    let ranges: Vec<String> = ranges.into_iter().chain(["127.0.0.0/8".to_owned()]).collect();
    let plugins = [
        ("plain", json!([])),
        ("key-auth", json!([{ "name": "key-auth" }])),
        ("acl", json!([{ "name": "key-auth" }, { "name": "acl", "config": { "allow": ["loaders"] } }])),
        (
            "cors",
            json!([{ "name": "cors", "config": { "origins": ["https://shop.example.com"], "credentials": true } }]),
        ),
        ("ip-restriction", json!([{ "name": "ip-restriction", "config": { "allow": ranges } }])),
        ("bot-detection", json!([{ "name": "bot-detection" }])),
        ("basic-auth", json!([{ "name": "basic-auth" }])),
        ("jwt", json!([{ "name": "jwt", "config": { "claims_to_verify": ["exp"] } }])),
    ];
    let routes =
        plugins.map(|(name, plugins)| json!({ "name": name, "paths": [format!("/{name}")], "plugins": plugins }));
    let keys: Vec<Value> = (0..KEYS).map(|n| json!({ "key": format!("key-{n}") })).collect();
    let document = json!({
        "_format_version": "3.0",
        "services": [{ "name": "upstream", "url": format!("http://{upstream}"), "routes": routes }],
        "consumers": [{
            "username": "load",
            "keyauth_credentials": keys,
            "acls": [{ "group": "loaders" }],
            "basicauth_credentials": [
                { "username": "load", "password": "wonderland" },
                { "username": "argon", "password": ARGON2ID },
            ],
            "jwt_secrets": [
                { "key": "hs", "algorithm": "HS256", "secret": "secret-of-the-benchmark" },
                { "key": "rs", "algorithm": "RS256", "rsa_public_key": PUBLIC_KEY },
            ],
        }],
    });
    document.to_string()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |sum: u32, shift: u32| char::from(DIGITS[(sum >> shift & 63) as usize]);
    // Whole groups of three bytes: what is encoded here has no others.
    let groups = bytes.chunks_exact(3).map(|group| group.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    groups.flat_map(|sum| [18, 12, 6, 0].map(|shift| digit(sum, shift))).collect()
}
