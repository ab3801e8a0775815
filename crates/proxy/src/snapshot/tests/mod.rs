//! Snapshots made from snapshots.

mod same;
mod untouched;

use super::{Builder, Environment, Snapshot};
use crate::upstream::Upstreams;
use crate::upstream::dns::{Dns, Settings};
use entities::Route;
use pdk::trace::{Instrumentations, Tracing};
use pdk::{BuildError, Definition, Instance, Phases, Plugin};
use router::{Flavor, NoFields, Protocol, Query};
use std::sync::Arc;
use uuid::Uuid;

/// Tells a share of traces, and wants certificates of clients, where its config says so.
struct Configured {
    share: Option<f64>,
    asks: Option<Vec<Vec<u8>>>,
}

impl Plugin for Configured {
    fn share_of_traces(&self, _: Tracing) -> Option<f64> {
        self.share
    }

    fn client_certificates(&self) -> Option<&[Vec<u8>]> {
        self.asks.as_deref()
    }
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let names = |name: &serde_json::Value| name.as_str().unwrap_or_default().as_bytes().to_vec();
    let asks = instance.config["asks"].as_array().map(|all| all.iter().map(names).collect());
    Ok(Arc::new(Configured { share: instance.config["share"].as_f64(), asks }))
}

fn definition(name: &'static str) -> Definition {
    Definition {
        name,
        priority: 1,
        version: "1.0.0",
        phases: Phases::ACCESS,
        schema: || unreachable!("no schema is asked for"),
        build,
    }
}

fn environment() -> Environment {
    let settings = Settings {
        hosts_file: "/nonexistent".into(),
        resolv_conf: "/nonexistent".into(),
        nameservers: Vec::new(),
        ..Settings::default()
    };
    Environment {
        flavor: Flavor::TraditionalCompatible,
        plugins: ["one", "two", "three"].map(definition).into(),
        secrets: Arc::new(|_| None),
        upstreams: Arc::new(Upstreams::new(Dns::new(settings).unwrap(), None)),
        default_certificate: None,
        verify_upstreams: false,
        verify_depth: 1,
        client_certificate: None,
        upstream_http2: false,
        trusted_certificates: Vec::new(),
        tracing: Tracing { instrumentations: Instrumentations::ROUTER, sampling_rate: 1.0 },
    }
}

fn id(kind: u128, number: usize) -> Uuid {
    Uuid::from_u128((kind << 64) + number as u128)
}

fn route(number: usize, path: &str, service: Option<Uuid>) -> Arc<Route> {
    Arc::new(Route {
        id: id(1, number),
        protocols: ["http", "https"].map(str::to_owned).into_iter().collect(),
        snis: number.is_multiple_of(2).then(|| [format!("s{number}.test")].into()),
        paths: Some([path.to_owned()].into()),
        service: service.map(|id| serde_json::from_value(serde_json::json!({ "id": id })).unwrap()),
        strip_path: true,
        https_redirect_status_code: 426,
        ..Route::default()
    })
}

fn query(path: &str) -> Query<'_> {
    Query {
        protocol: Protocol::Http,
        method: "GET",
        host: Some(b"h"),
        path: path.as_bytes(),
        sni: None,
        source: None,
        destination: None,
        fields: &NoFields,
    }
}

fn found(snapshot: &Snapshot, path: &str) -> Option<Uuid> {
    snapshot.router.find(&query(path)).map(|found| found.route.route.id)
}
