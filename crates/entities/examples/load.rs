//! How long a large declarative file takes: `cargo run --release -p entities --example load [routes]`.

use std::fmt::Write;
use std::time::{Duration, Instant};

use entities::{AvailablePlugin, Catalog, PluginSchema, RouterFlavor, declarative};
use schema::{Context, Field, Record, Value, typedefs};

#[derive(Record, serde::Deserialize)]
#[expect(dead_code, reason = "only the schema is of interest")]
struct KeyAuth {
    #[field(default = ["apikey"], elements(typedef = header_name))]
    key_names: Vec<String>,
    #[field(default = false)]
    hide_credentials: bool,
    anonymous: Option<String>,
    #[field(default = true)]
    key_in_header: bool,
    #[field(default = true)]
    key_in_query: bool,
    #[field(default = false)]
    key_in_body: bool,
    #[field(default = true)]
    run_on_preflight: bool,
    #[field(required = false)]
    realm: Option<String>,
}

/// As many services as routes, each route on one, and two plugins for each.
fn file(routes: usize) -> String {
    let mut text = "_format_version: '3.0'\nservices:\n".to_owned();
    for n in 0..routes {
        let _ = write!(
            text,
            "- name: service-{n}\n  url: http://backend-{n}.internal:8080/api/v1\n  plugins:\n  - name: limits\n    config:\n      minute: {n}\n  \
             routes:\n  - name: route-{n}\n    hosts:\n    - host-{n}.example.com\n    paths:\n    - /path/{n}\n    \
             methods:\n    - GET\n    - POST\n    plugins:\n    - name: key-auth\n      config:\n        key_names:\n        - x-key-{n}\n",
        );
    }
    text
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let routes = std::env::args().nth(1).map_or(Ok(5000), |argument| argument.parse())?;
    let limits = schema::RecordSchema::new([("minute", Field::number()), ("host", typedefs::host())]);
    let plugin = |schema| AvailablePlugin { priority: 1250, version: "1.0.0".into(), schema };
    let catalog = Catalog::new(
        RouterFlavor::TraditionalCompatible,
        vec![
            plugin(PluginSchema::plugin("key-auth", KeyAuth::record()).no_consumer().protocols_http()),
            plugin(PluginSchema::plugin("limits", &limits.into()).protocols_http()),
        ],
    );
    let random = |bytes: &mut [u8]| bytes.fill(7);
    let cx = Context { now: Duration::from_secs(1_800_000_000), random: &random, schemas: &catalog };
    let yaml = file(routes);
    let mut out = format!("{routes} routes, {} MiB of YAML\n", yaml.len() >> 20);
    for _ in 0..5 {
        let started = Instant::now();
        let declarative = declarative::parse(&yaml, &catalog, &cx).map_err(|invalid| invalid.pretty(None))?;
        let parsed = started.elapsed();
        let configuration = declarative.configuration()?;
        let _ = writeln!(
            out,
            "{} entities: read and checked in {parsed:?}, typed after {:?}",
            configuration.len(),
            started.elapsed()
        );
    }
    let value: Value = serde_json::from_str(&serde_json::to_string(
        &declarative::parse(&yaml, &catalog, &cx).map_err(|e| e.pretty(None))?.to_json(),
    )?)?;
    let _ = writeln!(
        out,
        "services as answered: {}",
        value.get("services").and_then(Value::as_object).map_or(0, |all| all.len())
    );
    std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes())?;
    Ok(())
}
