//! A node's upstreams in tests: entities made by hand, taken over as a snapshot's build does.

use super::Upstreams;
use super::dns::tests::server::Server;
use super::dns::{Dns, Kind, Settings};
use crate::snapshot::Environment;
use balancer::{Address, Resolution};
use entities::upstream::{ActiveHealthchecks, Healthchecks};
use entities::{Configuration, Target, Upstream};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The upstreams of a node, and the configuration they are made from.
pub(super) struct Node {
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) configuration: Configuration,
    environment: Environment,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::with(Vec::new(), Vec::new())
    }

    pub(super) fn on(server: &Server) -> Self {
        Self::with(vec![server.address], Vec::new())
    }

    pub(super) fn trusting(trusted: Vec<CertificateDer<'static>>) -> Self {
        Self::with(Vec::new(), trusted)
    }

    fn with(nameservers: Vec<std::net::SocketAddr>, trusted_certificates: Vec<CertificateDer<'static>>) -> Self {
        let settings = Settings {
            order: vec![Kind::A],
            nameservers,
            hosts_file: "/nonexistent".into(),
            resolv_conf: "/nonexistent".into(),
            ..Settings::default()
        };
        let upstreams = Arc::new(Upstreams::new(Dns::new(settings).unwrap(), None));
        let environment = Environment {
            flavor: router::Flavor::Traditional,
            plugins: Arc::new([]),
            secrets: Arc::new(|_| None),
            upstreams: upstreams.clone(),
            default_certificate: None,
            verify_upstreams: false,
            verify_depth: 1,
            client_certificate: None,
            upstream_http2: false,
            trusted_certificates,
            tracing: pdk::trace::Tracing::default(),
        };
        Self { upstreams, configuration: Configuration::default(), environment }
    }

    pub(super) fn upstream(&mut self, number: u128, active: ActiveHealthchecks) -> Uuid {
        let id = Uuid::from_u128(number);
        let healthchecks = Healthchecks { active, ..Healthchecks::default() };
        let host_header = Some("web.test".to_owned());
        let entity = Upstream { id, name: format!("u{number}"), healthchecks, host_header, ..Upstream::default() };
        self.configuration.upstreams.insert(id, Arc::new(entity));
        id
    }

    pub(super) fn target(&mut self, upstream: Uuid, target: &str, weight: i64) -> Uuid {
        let id = Uuid::new_v5(&upstream, target.as_bytes());
        let entity = serde_json::json!({
            "id": id, "created_at": 1.0, "updated_at": 1.0, "upstream": { "id": upstream },
            "target": target, "weight": weight, "tags": null,
        });
        let entity: Target = serde_json::from_value(entity).unwrap();
        self.configuration.targets.insert(id, Arc::new(entity));
        id
    }

    /// Takes the configuration over: what could not be used.
    pub(super) fn apply(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.upstreams.update(&self.configuration, &self.environment, &mut problems);
        problems
    }

    pub(super) fn addresses(&self, upstream: Uuid) -> Vec<Address> {
        let balancer = self.upstreams.balancer(upstream).unwrap();
        balancer.addresses().iter().map(|member| member.address().clone()).collect()
    }

    pub(super) fn ips(&self, upstream: Uuid) -> Vec<String> {
        self.addresses(upstream).iter().map(|address| address.ip.to_string()).collect()
    }
}

/// Waits for what other tasks bring about.
pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not come to pass");
}

#[test]
fn a_configuration_that_does_not_touch_an_upstream_keeps_its_balancer() {
    let mut node = Node::new();
    let id = node.upstream(1, ActiveHealthchecks::default());
    node.target(id, "127.0.0.1:80", 100);
    node.apply();
    let before = node.upstreams.by_id(id).unwrap();
    node.upstream(2, ActiveHealthchecks::default());
    node.apply();
    assert!(Arc::ptr_eq(&before, &node.upstreams.by_id(id).unwrap()));
    node.target(id, "127.0.0.2:80", 100);
    node.apply();
    assert!(!Arc::ptr_eq(&before, &node.upstreams.by_id(id).unwrap()));
}

#[test]
fn another_target_does_not_make_a_name_forgotten() {
    let mut node = Node::new();
    let id = node.upstream(1, ActiveHealthchecks::default());
    let named = node.target(id, "named.test:80", 100);
    node.apply();
    let record = balancer::Record { ip: [10, 0, 0, 1].into(), port: None, weight: None, name: None };
    let found = Resolution::Records { dns: "A", records: vec![record] };
    let upstream = node.upstreams.by_id(id).unwrap();
    let now = std::time::Instant::now();
    upstream.balancer.store(Arc::new(upstream.balancer.load().with_target_addresses(named, found, now)));
    node.target(id, "127.0.0.1:80", 100);
    node.apply();
    assert!(node.ips(id).contains(&"10.0.0.1".to_owned()), "{:?}", node.ips(id));
}
