//! `make cache-tests`: the suite that HTTP's cache authors keep (github.com/http-tests/cache-tests) against `proxy-cache` with
//! all that RFC 9111 asks for switched on. The suite is no part of this project: it lies where `--suite` says.

use crate::gateway::{Gateway, Setting};
use crate::process::Running;
use crate::project;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The suite's own verdict on each test, with its group and kind.
const JUDGE: &str = r"
import fs from 'node:fs'
const [suite, results] = process.argv.slice(1)
const { default: groups } = await import(suite + '/tests/index.mjs')
const { determineTestResult, resultTypes } = await import(suite + '/test-engine/lib/results.mjs')
const told = JSON.parse(fs.readFileSync(results))
const name = type => Object.keys(resultTypes).find(key => resultTypes[key] === type)
const all = groups.flatMap(group => group.tests.map(test => ({
  group: group.name, id: test.id, name: test.name, kind: test.kind || 'required',
  verdict: name(determineTestResult(groups, test.id, told)),
  why: told[test.id] === undefined || told[test.id] === true ? '' : String(told[test.id][1])
})))
console.log(JSON.stringify(all))
";

/// A field for content delivery networks (RFC 9213), which this gateway is none of.
const NOT_OURS: &str = "CDN-Cache-Control";

/// Required tests that cannot pass, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "headers-store-Transfer-Encoding",
        "an upstream's answer with a transfer coding that nobody knows is refused (502)",
    ),
    ("status-204-stale", "presumes that 204 is kept: what has no `Content-Type` is not, as in Kong"),
    (
        "stale-while-revalidate-window",
        "presumes that nobody waits for a new response: the client that asks for it does",
    ),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A checkout of github.com/http-tests/cache-tests, with its packages (`npm install`)
    #[arg(long)]
    suite: PathBuf,
    /// The gateway's program; built if not given
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The cargo profile to build with
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Only this test, with all messages
    #[arg(long)]
    id: Option<String>,
    /// Writes the results as a page of the docs (docs/proxy-cache-tests.md)
    #[arg(long)]
    page: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let suite = options.suite.canonicalize().with_context(|| format!("no suite at {}", options.suite.display()))?;
    ensure!(suite.join("node_modules").exists(), "the suite needs its packages: npm install in {}", suite.display());
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("no program at {}", path.display()))?,
        None => project::build_gateway(&options.profile)?,
    };
    let folder = project::scratch("cache-tests")?;
    let (_origin, at) = start_origin(&suite, &folder)?;
    let kong_yml = folder.join("kong.yml");
    project::write(&kong_yml, configuration(at))?;
    let properties = [
        ("database", "off".to_owned()),
        ("declarative_config", kong_yml.display().to_string()),
        ("nginx_worker_processes", "1".to_owned()),
    ];
    let setting = Setting { binary: &binary, folder: &folder, properties: &properties, core: None };
    let mut gateway = Gateway::start(&setting)?;
    let output = node(&suite)
        .args(["--no-warnings", "test-engine/cli.mjs"])
        .env("npm_config_base", format!("http://{}", gateway.ports.proxy))
        .env("npm_config_id", options.id.as_deref().unwrap_or_default())
        // What npm would set from the package's own file: all tests.
        .env("npm_package_config_id", "")
        .output()
        .context("cannot run node")?;
    gateway.running.fail_if_ended()?;
    if options.id.is_some() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    let results = folder.join("results.json");
    project::write(&results, &output.stdout)?;
    let tests = judged(&suite, &results)?;
    let unexpected = told(&tests);
    if let Some(page) = &options.page {
        project::write(page, as_page(&tests, &version(&suite)))?;
    }
    println!("all results: {}", results.display());
    ensure!(unexpected == 0, "{unexpected} required tests failed");
    Ok(())
}

/// The commit of the suite.
fn version(suite: &Path) -> String {
    let output = Command::new("git").arg("-C").arg(suite).args(["log", "-1", "--format=%h of %cs"]).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn node(suite: &Path) -> Command {
    let mut command = Command::new("node");
    command.current_dir(suite);
    command
}

fn start_origin(suite: &Path, folder: &Path) -> Result<(Running, SocketAddr)> {
    let at = TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).context("no free port")?;
    let mut command = node(suite);
    command
        .arg("test-engine/server/server.mjs")
        .env("npm_config_protocol", "http")
        .env("npm_config_port", at.port().to_string())
        .env("npm_config_pidfile", folder.join("origin.pid"));
    let mut origin = Running::start("the suite's origin", command, &folder.join("origin.log"))?;
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(at).is_err() {
        origin.fail_if_ended()?;
        ensure!(Instant::now() < end, "the suite's origin takes no connections; see {}", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((origin, at))
}

/// All that may be kept is kept; how long is left to the origin.
fn configuration(origin: SocketAddr) -> String {
    format!(
        r#"_format_version: "3.0"
services:
- url: http://{origin}
  retries: 0
  routes:
  - paths: [/]
    strip_path: false
  plugins:
  - name: proxy-cache
    config:
      strategy: memory
      cache_control: true
      cache_ttl: 3600
      request_method: [GET, HEAD]
      response_code: [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 499, 500, 501, 502, 503, 504, 599]
      content_type: ["*/*", "text/plain;charset=utf-8"]
      revalidate: true
      invalidate: true
      ranges: true
      stale_if_error: 60
"#
    )
}

fn judged(suite: &Path, results: &Path) -> Result<Vec<Value>> {
    let output = node(suite)
        .args(["--input-type=module", "--eval", JUDGE])
        .args([suite, results])
        .output()
        .context("cannot run node")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the suite's results cannot be judged:\n{said}");
    match serde_json::from_slice(&output.stdout)? {
        Value::Array(tests) => Ok(tests),
        other => bail!("no list of tests: {other}"),
    }
}

fn text<'a>(test: &'a Value, field: &str) -> &'a str {
    test.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The suite's groups in its order, without what is not tested.
fn groups(tests: &[Value]) -> Vec<(&str, Vec<&Value>)> {
    let mut groups: Vec<(&str, Vec<&Value>)> = Vec::new();
    for test in tests.iter().filter(|test| text(test, "verdict") != "untested" && text(test, "group") != NOT_OURS) {
        let name = text(test, "group");
        match groups.last_mut() {
            Some((last, list)) if *last == name => list.push(test),
            _ => groups.push((name, vec![test])),
        }
    }
    groups
}

/// A verdict in words: optional behaviour that is not there is no failure, and some tests only ask what a cache does.
fn result(test: &Value) -> &'static str {
    match text(test, "verdict") {
        "pass" => "passed",
        "yes" => "yes",
        "no" => "no",
        "optional_fail" => "not done",
        "dependency_fail" | "setup_fail" => "does not apply",
        _ => "failed",
    }
}

/// How many of each result: `3 passed, 1 failed`.
fn counts(tests: &[&Value]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    tests.iter().for_each(|test| *counts.entry(result(test)).or_default() += 1);
    counts.iter().map(|(result, count)| format!("{count} {result}")).collect::<Vec<_>>().join(", ")
}

/// Prints the groups and what is not as it could be; how many required tests failed that should not.
fn told(tests: &[Value]) -> usize {
    let groups = groups(tests);
    for (name, tests) in &groups {
        println!("{name}: {}", counts(tests));
        for test in tests.iter().filter(|test| !matches!(result(test), "passed" | "yes")) {
            let [kind, id, why] = ["kind", "id", "why"].map(|field| text(test, field));
            println!("  {} ({kind}) {id}: {why}", result(test));
        }
    }
    let all: Vec<&Value> = groups.into_iter().flat_map(|(_, tests)| tests).collect();
    let required: Vec<&Value> = all.iter().copied().filter(|test| text(test, "kind") == "required").collect();
    println!("all: {}\nrequired: {}", counts(&all), counts(&required));
    let is_exception = |test: &&&Value| EXCEPTIONS.iter().any(|(id, _)| *id == text(test, "id"));
    required.iter().filter(|test| result(test) != "passed").filter(|test| !is_exception(test)).count()
}

fn as_page(tests: &[Value], version: &str) -> String {
    let groups = groups(tests);
    let required: Vec<&Value> =
        groups.iter().flat_map(|(_, tests)| tests).copied().filter(|test| text(test, "kind") == "required").collect();
    let mut page = format!(
        "# Tests of HTTP caches against proxy-cache

The suite [http-tests/cache-tests](https://github.com/http-tests/cache-tests) (commit {version}), which the authors of RFC 9111 keep,
against `proxy-cache` with `cache_control`, `revalidate`, `invalidate`, `ranges` and `stale_if_error`, by

```
git clone https://github.com/http-tests/cache-tests ../cache-tests && (cd ../cache-tests && npm install --omit=dev)
make cache-tests ARGS=\"--suite ../cache-tests --page docs/proxy-cache-tests.md\"
```

That command writes this page. What each test does is at [cache-tests.fyi](https://cache-tests.fyi), by the names below.

- *required*: RFC 9111 asks for it. {}.
- *optimal*: a cache may do without, it asks the upstream more often then (*not done*).
- *check*: the suite asks what a cache does (*yes*, *no*); neither is wrong.
- *does not apply*: presumes something optional that is not done.

Left out are the tests of browsers, and those of `CDN-Cache-Control` (RFC 9213), a field for content delivery networks.

Required tests that cannot pass:

| test | why |
|---|---|
",
        counts(&required)
    );
    for (id, why) in EXCEPTIONS {
        let _ = writeln!(page, "| `{id}` | {why} |");
    }
    for (name, tests) in &groups {
        let _ =
            write!(page, "\n## {}\n\n| test | kind | result |\n|---|---|---|\n", name.replace("Respones", "Responses"));
        for test in tests {
            let [id, kind] = ["id", "kind"].map(|field| text(test, field));
            let _ = writeln!(page, "| `{id}` | {kind} | {} |", result(test));
        }
    }
    page
}
