//! A snapshot after any changes is what it would be if it were built whole.

use super::{Builder, Snapshot, environment, id, query, route};
use crate::snapshot::Destination;
use entities::{
    CaCertificate, Certificate, Configuration, Consumer, ConsumerGroup, ConsumerGroupPlugin, GroupLimits, Plugin,
    Service, Sni, Target, Touched, Upstream,
};
use fastrand::Rng;
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;
use uuid::Uuid;

const STEPS: usize = 400;

/// A reference to an entity.
macro_rules! foreign {
    ($id:expr) => {
        serde_json::from_value(json!({ "id": $id })).unwrap()
    };
}

/// What there may be to change: few of each kind, so that they meet.
struct World {
    rng: Rng,
    all: Configuration,
    certificates: Vec<(String, String)>,
}

macro_rules! exchanged {
    ($self:ident, $rows:ident, $touched:ident, $new:expr) => {{
        let new = Arc::new($new);
        let old = $self.all.$rows.insert(new.id, new.clone());
        Touched::$touched(old, Some(new))
    }};
}

impl World {
    fn new(seed: u64) -> Self {
        let pem = |_| {
            let made = rcgen::generate_simple_self_signed(["x.test".to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        Self { rng: Rng::with_seed(seed), all: Configuration::default(), certificates: (0..3).map(pem).collect() }
    }

    fn maybe(&mut self, kind: u128, count: usize) -> Option<Uuid> {
        let number = self.rng.usize(0..count * 2);
        (number < count).then(|| id(kind, number))
    }

    fn change(&mut self) -> Option<Touched> {
        let removes = self.rng.u8(0..4) == 0;
        let number = self.rng.usize(0..6);
        Some(match (self.rng.u8(0..12), removes) {
            (0, true) => Touched::Routes(self.all.routes.remove(&id(1, number)), None),
            (0, false) => {
                let path = format!("/{}", self.rng.usize(0..5));
                let service = self.maybe(2, 4);
                exchanged!(self, routes, Routes, (*route(number, &path, service)).clone())
            }
            (1, true) => Touched::Services(self.all.services.remove(&id(2, number)), None),
            (1, false) => exchanged!(self, services, Services, self.service(number)),
            (2, true) => Touched::Plugins(self.all.plugins.remove(&id(3, number)), None),
            (2 | 3, _) => return self.plugin(),
            (4, true) => Touched::Upstreams(self.all.upstreams.remove(&id(4, number)), None),
            (4, false) => {
                let client_certificate = self.maybe(6, 3).map(|id| foreign!(id));
                let name = format!("u{number}");
                let new = Upstream { id: id(4, number), name, client_certificate, ..Upstream::default() };
                exchanged!(self, upstreams, Upstreams, new)
            }
            (5, true) => Touched::Targets(self.all.targets.remove(&id(5, number)), None),
            (5, false) => {
                let target = json!({ "id": id(5, number), "created_at": 1.0, "updated_at": 1.0, "tags": null,
                    "upstream": { "id": id(4, self.rng.usize(0..3)) }, "weight": 1,
                    "target": format!("127.0.0.{}:80", self.rng.u8(1..5)) });
                exchanged!(self, targets, Targets, serde_json::from_value::<Target>(target).unwrap())
            }
            (6, true) => Touched::Certificates(self.all.certificates.remove(&id(6, number)), None),
            (6, false) => {
                let (cert, key) = self.certificates[self.rng.usize(0..3)].clone();
                exchanged!(
                    self,
                    certificates,
                    Certificates,
                    Certificate { id: id(6, number), cert, key, ..Default::default() }
                )
            }
            (7, true) => Touched::Snis(self.all.snis.remove(&id(7, number)), None),
            (7, false) => {
                let certificate = foreign!(id(6, self.rng.usize(0..4)));
                let new = Sni {
                    id: id(7, number),
                    name: format!("S{number}.test"),
                    certificate,
                    created_at: 1,
                    updated_at: 1,
                    tags: None,
                };
                exchanged!(self, snis, Snis, new)
            }
            (8, true) => Touched::CaCertificates(self.all.ca_certificates.remove(&id(9, number)), None),
            (8, false) => {
                let cert = format!("the certificate {}", self.rng.u8(0..100));
                let new = CaCertificate { id: id(9, number), cert, ..CaCertificate::default() };
                exchanged!(self, ca_certificates, CaCertificates, new)
            }
            (9, true) => Touched::ConsumerGroups(self.all.consumer_groups.remove(&id(10, number)), None),
            (9, false) => {
                let name = format!("g{}", self.rng.usize(0..100) * 6 + number);
                exchanged!(self, consumer_groups, ConsumerGroups, self.group(number, name))
            }
            (10, true) => Touched::ConsumerGroupPlugins(self.all.consumer_group_plugins.remove(&id(11, number)), None),
            (10, false) => {
                // A group has one of a name.
                let limits = GroupLimits { limit: vec![self.rng.u8(..).into()], ..GroupLimits::default() };
                let new = ConsumerGroupPlugin {
                    id: id(11, number),
                    created_at: 1,
                    updated_at: 1,
                    consumer_group: foreign!(id(10, number)),
                    name: "one".to_owned(),
                    config: limits,
                };
                exchanged!(self, consumer_group_plugins, ConsumerGroupPlugins, new)
            }
            (_, true) => Touched::Consumers(self.all.consumers.remove(&id(8, number)), None),
            (_, false) => {
                let username = Some(format!("c{number}"));
                exchanged!(self, consumers, Consumers, Consumer { id: id(8, number), username, ..Consumer::default() })
            }
        })
    }

    fn service(&mut self, number: usize) -> Service {
        let host = match self.rng.u8(0..3) {
            0 => "127.0.0.1".to_owned(),
            _ => format!("u{}", self.rng.usize(0..4)),
        };
        Service {
            id: id(2, number),
            protocol: ["http", "https", "tcp"][self.rng.usize(0..3)].to_owned(),
            host,
            port: self.rng.i64(1..100),
            enabled: self.rng.u8(0..4) > 0,
            client_certificate: self.maybe(6, 3).map(|id| foreign!(id)),
            ..Service::default()
        }
    }

    fn group(&self, number: usize, name: String) -> ConsumerGroup {
        ConsumerGroup { id: id(10, number), name, ..ConsumerGroup::default() }
    }

    /// Kong has one plugin of a name in a scope at most.
    fn plugin(&mut self) -> Option<Touched> {
        let new = Plugin {
            id: id(3, self.rng.usize(0..12)),
            name: ["one", "two", "three", "absent"][self.rng.usize(0..4)].to_owned(),
            enabled: self.rng.u8(0..5) > 0,
            protocols: vec!["http".to_owned()],
            config: match self.rng.u8(0..7) {
                0 | 1 => json!({ "share": f64::from(self.rng.u8(1..9)) / 10.0 }),
                2 => json!({ "asks": [] }),
                3 => {
                    let authority = self.rng.usize(0..6);
                    json!({ "asks": [format!("ca{authority}")], "ca_certificates": [id(9, authority)] })
                }
                4 => json!({ "enforce_consumer_groups": true, "consumer_groups": [id(10, self.rng.usize(0..6))] }),
                5 => {
                    let names: Vec<_> = self.all.consumer_groups.values().map(|group| &group.name).collect();
                    json!({ "enforce_consumer_groups": true, "consumer_groups": names })
                }
                _ => json!({}),
            },
            route: self.maybe(1, 5).map(|id| foreign!(id)),
            service: self.maybe(2, 4).map(|id| foreign!(id)),
            consumer: self.maybe(8, 3).map(|id| foreign!(id)),
            ..Plugin::default()
        };
        let place = |p: &Plugin| {
            (p.name.clone(), [&p.route, &p.service, &p.consumer].map(|foreign| foreign.as_ref().map(|f| f.id)))
        };
        let is_taken = self.all.plugins.values().any(|other| other.id != new.id && place(other) == place(&new));
        (!is_taken).then(|| exchanged!(self, plugins, Plugins, new))
    }
}

/// Everything that a request can find in a snapshot, as text.
fn shown(snapshot: &Snapshot) -> String {
    let mut text = format!("{} routes, {} services\n", snapshot.router.len(), snapshot.services.len());
    let consumers = (0..4).map(|number| Some(id(8, number))).chain([None]);
    let consumers: Vec<_> =
        consumers.filter(|c| c.is_none_or(|c| snapshot.consumers.consumer(c).ready().flatten().is_some())).collect();
    let plan = |text: &mut String, plan: &crate::snapshot::Plan| {
        for consumer in &consumers {
            let chosen = plan.chosen(*consumer, &snapshot.consumers, &snapshot.instances);
            let shares = |b: &Arc<crate::snapshot::Built>| {
                let authorities: Vec<_> = b.authorities.iter().map(|authority| &authority.cert).collect();
                let groups: Vec<_> =
                    b.groups.iter().map(|g| (&g.group.name, g.limits.as_ref().map(|own| &own.config.limit))).collect();
                format!("{} {} {authorities:?} {groups:?}", b.entity().id, b.entity().config)
            };
            let _ = writeln!(text, "  {consumer:?}: {:?}", chosen.iter().map(shares).collect::<Vec<_>>());
        }
    };
    plan(&mut text, &snapshot.global);
    for path in 0..5 {
        let path = format!("/{path}/x");
        let query = query(&path);
        let found = snapshot.router.find(&query);
        let Some((found, routed)) = found.map(|found| (found.route.route.id, snapshot.routed(found.route))) else {
            let _ = writeln!(text, "{path}: none");
            continue;
        };
        let _ = writeln!(text, "{path}: {found}");
        if let Some(service) = routed.service {
            let to = match &service.destination {
                Destination::Upstream(upstream) => {
                    let balancer = upstream.balancer.load();
                    let addresses = balancer.addresses().iter().map(|member| member.address().socket().to_string());
                    format!("{} {:?}", upstream.entity.name, addresses.collect::<Vec<_>>())
                }
                Destination::Address(ip) => ip.to_string(),
                Destination::Name => "by name".to_owned(),
            };
            let _ = writeln!(text, "  {} {} {}: {to}", service.service.id, service.host, service.port);
            let _ = writeln!(text, "  {:?}", service.tls.as_ref().map(|tls| &tls.id));
        }
        plan(&mut text, routed.plan);
    }
    let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
    for number in 0..6 {
        let found = snapshot.certificates.find(Some(&format!("s{number}.test")), &schemes);
        let _ = writeln!(text, "s{number}: {:?}", found.map(|pair| pair.cert[0].as_ref()[60..90].to_vec()));
    }
    for name in (0..6).map(|number| Some(format!("s{number}.test"))).chain([None]) {
        let _ = writeln!(text, "{name:?} is asked for {:?}", snapshot.asked.find(name.as_deref()));
    }
    let _ = writeln!(text, "{:?}", snapshot.traced.map(|(_, share)| share));
    text
}

#[test]
fn changes_lead_where_a_new_start_leads() {
    for seed in 0..6 {
        let mut world = World::new(seed);
        let mut builder = Builder::new(environment());
        let mut rebuilt = Builder::new(environment());
        let mut last: Option<(Snapshot, String)> = None;
        for step in 0..STEPS {
            let changes = world.rng.usize(1..4);
            let touched: Vec<_> = (0..changes).filter_map(|_| world.change()).collect();
            let snapshot = builder.change(&touched, &world.all).0;
            let text = shown(&snapshot);
            assert_eq!(text, shown(&rebuilt.build(&world.all, true).0), "seed {seed}, step {step}: {touched:?}");
            if let Some((last, text)) = last {
                // Health and addresses of targets are the node's, and the same for all snapshots: they are not compared.
                assert_eq!(
                    without_targets(&shown(&last)),
                    without_targets(&text),
                    "seed {seed}, step {step} changed another"
                );
            }
            last = Some((snapshot, text));
        }
    }
}

fn without_targets(text: &str) -> String {
    text.lines().filter(|line| !line.contains("127.0.0.")).collect()
}
