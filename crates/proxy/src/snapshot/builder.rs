//! Makes snapshots: each from the one before, at a cost that depends on what changed and not on what there is.

use super::asked::Asked;
use super::certificates::Pairs;
use super::instances::Scope;
use super::links::{Dirty, Links};
use super::make::{Workshop, authorities, limits_groups};
use super::plan::{Built, Plan};
use super::services::{Alike, Numbers, ServiceEntry, ServiceTarget};
use super::{Endpoint, Environment, Snapshot};
use crate::upstream::tls::{ClientTls, Made};
use entities::{Configuration, Plugin, Route, Service, Touched};
use pdk::Consumers;
use std::sync::Arc;
use uuid::Uuid;

/// Holds the parts of the newest snapshot, and what is needed to change them.
pub struct Builder {
    env: Environment,
    current: Snapshot,
    links: Links,
    numbers: Numbers,
    alike: Alike,
    plugins: Workshop,
    pairs: Pairs,
    tls: Made,
}

impl Builder {
    /// With nothing configured: every request finds no route.
    pub fn new(env: Environment) -> Self {
        let plugins = Workshop::new(&env);
        Self {
            current: Snapshot::empty(&env),
            env,
            links: Links::default(),
            numbers: Numbers::default(),
            alike: Alike::default(),
            plugins,
            pairs: Pairs::default(),
            tls: Made::default(),
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.current.clone()
    }

    /// The snapshot of a configuration. Plugin instances whose entities did not change are kept, where they may be. The strings
    /// tell what of the configuration could not be used: it is left out, the rest serves.
    pub fn build(&mut self, from: &Configuration, keeps_instances: bool) -> (Snapshot, Vec<String>) {
        let mut problems = Vec::new();
        self.links = Links::default();
        self.numbers = Numbers::default();
        self.pairs = Pairs::default();
        self.tls = Made::default();
        self.plugins.start_over(keeps_instances);
        self.current = Snapshot::empty(&self.env);
        self.current.consumers = Arc::new(Consumers::new(from));
        self.env.upstreams.update(from, &self.env, &mut problems);
        let mut dirty = Dirty { is_global_plan: true, ..Dirty::default() };
        from.targets.values().for_each(|target| self.links.target(None, Some(target)));
        from.upstreams.values().for_each(|upstream| self.links.upstream(None, Some(upstream)));
        from.snis.values().for_each(|sni| self.links.sni(None, Some(sni)));
        from.services.values().for_each(|service| self.links.service(None, Some(service)));
        pace::each(from.routes.values()).for_each(|route| self.links.route(None, Some(route)));
        for plugin in pace::each(from.plugins.values()) {
            self.plugin(None, Some(plugin), from, &mut dirty, &mut problems);
        }
        dirty.upstream_names.extend(from.upstreams.values().map(|upstream| upstream.name.clone()));
        dirty.certificates.extend(from.certificates.keys());
        dirty.snis.extend(from.snis.keys());
        dirty.services.extend(from.services.keys());
        dirty.routes.extend(from.routes.keys());
        self.plugins.forget_unused();
        self.settle(dirty, from, &mut problems);
        (self.snapshot(), problems)
    }

    /// The snapshot after some rows were changed, which the configuration has already.
    pub fn change(&mut self, touched: &[Touched], from: &Configuration) -> (Snapshot, Vec<String>) {
        if touched.iter().any(|row| matches!(row, Touched::Other)) {
            return self.build(from, true);
        }
        let mut problems = Vec::new();
        let mut dirty = Dirty::default();
        self.current.consumers = Arc::new(self.current.consumers.updated(touched, from));
        for row in touched {
            self.note(row, from, &mut dirty, &mut problems);
        }
        self.settle(dirty, from, &mut problems);
        (self.snapshot(), problems)
    }

    /// Notes what depends on a changed row.
    fn note(&mut self, row: &Touched, from: &Configuration, dirty: &mut Dirty, problems: &mut Vec<String>) {
        match row {
            Touched::Routes(old, new) => {
                self.links.route(old.as_deref(), new.as_deref());
                dirty.routes.extend(old.iter().chain(new).map(|route| route.id));
                dirty.left.extend(old.iter().filter_map(|route| Some(route.service.as_ref()?.id)));
            }
            Touched::Services(old, new) => {
                self.links.service(old.as_deref(), new.as_deref());
                dirty.services.extend(old.iter().chain(new).map(|service| service.id));
                let is_left_out = |service: &Option<Arc<Service>>| service.as_ref().is_some_and(|s| !s.enabled);
                if let Some(service) = new.as_ref().or(old.as_ref())
                    && is_left_out(old) != is_left_out(new)
                {
                    dirty.routes.extend(self.links.routes_of(service.id));
                }
            }
            Touched::Upstreams(old, new) => {
                self.links.upstream(old.as_deref(), new.as_deref());
                for upstream in old.iter().chain(new) {
                    dirty.upstreams.insert(upstream.id);
                    dirty.upstream_names.insert(upstream.name.clone());
                    dirty.services.extend(self.links.services_at(&upstream.name));
                }
            }
            Touched::Targets(old, new) => {
                self.links.target(old.as_deref(), new.as_ref());
                for target in old.iter().chain(new) {
                    self.upstream(target.upstream.id, from, dirty);
                }
            }
            Touched::Snis(old, new) => {
                self.links.sni(old.as_deref(), new.as_deref());
                if let Some(old) = old {
                    Arc::make_mut(&mut self.current.certificates).forget(old);
                }
                dirty.snis.extend(new.as_ref().map(|sni| sni.id));
            }
            Touched::Certificates(old, new) => {
                let Some(certificate) = new.as_ref().or(old.as_ref()) else { return };
                dirty.certificates.insert(certificate.id);
                dirty.snis.extend(self.links.snis_of(certificate.id));
                self.client_certificate(certificate.id, from, dirty);
            }
            Touched::CaCertificates(old, new) => {
                let Some(authority) = new.as_ref().or(old.as_ref()).map(|authority| authority.id) else { return };
                self.tls.forget_authority(authority);
                let trusts =
                    |service: &&Arc<Service>| service.ca_certificates.iter().flatten().any(|id| *id == authority);
                dirty.services.extend(from.services.values().filter(trusts).map(|service| service.id));
                let names = |plugin: &&Arc<Plugin>| authorities(plugin).any(|id| id == authority);
                for plugin in from.plugins.values().filter(names) {
                    self.plugin(Some(plugin), Some(plugin), from, dirty, problems);
                }
            }
            Touched::ConsumerGroups(old, new) => {
                let groups = old.iter().chain(new);
                let names = groups.flat_map(|group| [group.name.clone(), group.id.to_string()]).collect::<Vec<_>>();
                self.limiting(&names, from, dirty, problems);
            }
            Touched::ConsumerGroupPlugins(old, new) => {
                let ids = old.iter().chain(new).map(|limits| limits.consumer_group.id);
                let name = |id| from.consumer_groups.get(&id).map(|group| group.name.clone());
                let names = ids.flat_map(|id| [Some(id.to_string()), name(id)]).flatten().collect::<Vec<_>>();
                self.limiting(&names, from, dirty, problems);
            }
            Touched::Plugins(old, new) => self.plugin(old.as_ref(), new.as_ref(), from, dirty, problems),
            _ => {}
        }
    }

    /// Instances that give consumer groups of these names limits of their own.
    fn limiting(&mut self, names: &[String], from: &Configuration, dirty: &mut Dirty, problems: &mut Vec<String>) {
        for plugin in from.plugins.values().filter(|plugin| limits_groups(plugin, names)) {
            self.plugin(Some(plugin), Some(plugin), from, dirty, problems);
        }
    }

    /// An upstream whose balancer is another.
    fn upstream(&self, id: Uuid, from: &Configuration, dirty: &mut Dirty) {
        dirty.upstreams.insert(id);
        if let Some(upstream) = from.upstreams.get(&id) {
            dirty.upstream_names.insert(upstream.name.clone());
            dirty.services.extend(self.links.services_at(&upstream.name));
        }
    }

    /// A certificate that upstreams may be shown. These changes are rare: all services are looked at.
    fn client_certificate(&mut self, id: Uuid, from: &Configuration, dirty: &mut Dirty) {
        self.tls.forget_client(id);
        for upstream in from.upstreams.values() {
            if upstream.client_certificate.as_ref().is_some_and(|shown| shown.id == id) {
                self.upstream(upstream.id, from, dirty);
            }
        }
        let services = from.services.values();
        let services = services.filter(|service| service.client_certificate.as_ref().is_some_and(|c| c.id == id));
        dirty.services.extend(services.map(|service| service.id));
    }

    fn plugin(
        &mut self,
        old: Option<&Arc<Plugin>>,
        new: Option<&Arc<Plugin>>,
        from: &Configuration,
        dirty: &mut Dirty,
        problems: &mut Vec<String>,
    ) {
        let asks = |built: &Built| built.plugin.client_certificates().is_some();
        let instances = Arc::make_mut(&mut self.current.instances);
        if let Some((at, built)) = old.and_then(|old| self.plugins.take(old.id)) {
            let is_other = instances.remove(at, &built);
            self.links.plugin(built.entity(), false);
            touch_plans(Scope::of(built.entity()), is_other, &self.links, dirty);
            dirty.is_asked |= asks(&built);
        }
        if let Some((at, built)) = new.and_then(|new| self.plugins.make(new, from, &self.env, problems)) {
            let is_other = instances.add(at, &built);
            self.links.plugin(built.entity(), true);
            touch_plans(Scope::of(built.entity()), is_other, &self.links, dirty);
            dirty.is_asked |= asks(&built);
        }
    }

    /// Makes anew what is to be made anew.
    fn settle(&mut self, mut dirty: Dirty, from: &Configuration, problems: &mut Vec<String>) {
        self.settle_certificates(&dirty, from, problems);
        if dirty.is_global_plan {
            self.current.global = Arc::new(Plan::new(&self.current.instances, Scope::default()));
            // An id of either kind is unknown among the other kind's.
            dirty.services.extend(self.links.all_with_own().filter(|id| from.services.contains_key(id)));
            dirty.endpoints.extend(self.links.all_with_own());
        }
        self.current.traced = self.plugins.share_of_traces().map(|share| (self.env.tracing, share));
        self.settle_services(&dirty, from, problems);
        self.settle_routes(&dirty, from, problems);
        self.settle_numbers(&dirty, from);
        self.settle_asked(&dirty, from);
    }

    /// Who is asked for a certificate: at a cost that depends on the routes whose plugins want one.
    fn settle_asked(&mut self, dirty: &Dirty, from: &Configuration) {
        let has_any = self.plugins.asking().next().is_some();
        if !dirty.is_asked && (dirty.routes.is_empty() || !has_any) {
            return;
        }
        let mut asked = Asked::default();
        for built in self.plugins.asking() {
            let names = built.plugin.client_certificates().unwrap_or_default();
            match Scope::of(built.entity()) {
                Scope { route: Some(route), .. } => asked.add(from.routes.get(&route), names),
                Scope { route: None, service: Some(service) } => {
                    self.links.routes_of(service).iter().for_each(|route| asked.add(from.routes.get(route), names));
                }
                Scope { route: None, service: None } => asked.add_everybody(names),
            }
        }
        asked.finish();
        self.current.asked = Arc::new(asked);
    }

    fn settle_certificates(&mut self, dirty: &Dirty, from: &Configuration, problems: &mut Vec<String>) {
        if dirty.certificates.is_empty() && dirty.snis.is_empty() {
            return;
        }
        for id in &dirty.certificates {
            match from.certificates.get(id) {
                Some(certificate) => self.pairs.set(certificate, &self.env, problems),
                None => self.pairs.remove(*id),
            }
        }
        let certificates = Arc::make_mut(&mut self.current.certificates);
        for sni in dirty.snis.iter().filter_map(|id| from.snis.get(id)) {
            certificates.set(sni, &self.pairs);
        }
    }

    fn settle_services(&mut self, dirty: &Dirty, from: &Configuration, problems: &mut Vec<String>) {
        if dirty.upstreams.is_empty() && dirty.upstream_names.is_empty() && dirty.services.is_empty() {
            return;
        }
        let mut tls = ClientTls::new(from, &self.env, &mut self.tls);
        let targets = |id: Uuid| self.links.targets_of(id);
        self.env.upstreams.change(&dirty.upstreams, &targets, from, &mut tls, problems);
        for name in &dirty.upstream_names {
            let upstream = self.links.upstream_named(name).and_then(|id| self.env.upstreams.by_id(id));
            Arc::make_mut(&mut self.current.upstreams).set(name, upstream);
        }
        let services = Arc::make_mut(&mut self.current.services);
        for id in pace::each(&dirty.services) {
            let number = self.numbers.of(*id);
            let Some(service) = from.services.get(id).filter(|service| service.enabled) else {
                services.set(number, ServiceEntry::default());
                continue;
            };
            let upstream = self.links.upstream_named(&service.host).and_then(|id| self.env.upstreams.by_id(id));
            let target = ServiceTarget::new(service, upstream, &mut tls, &mut self.alike).unwrap_or_else(|problem| {
                problems.push(problem);
                None
            });
            let scope = Scope { route: None, service: Some(*id) };
            let plan = self.links.has_own(*id).then(|| Arc::new(Plan::new(&self.current.instances, scope)));
            services.set(number, ServiceEntry { target, plan });
        }
        self.tls.forget_unused();
    }

    fn settle_routes(&mut self, dirty: &Dirty, from: &Configuration, problems: &mut Vec<String>) {
        if dirty.routes.is_empty() && dirty.endpoints.is_empty() {
            return;
        }
        let is_served = |route: &&Arc<Route>| {
            let service = route.service.as_ref().and_then(|s| from.services.get(&s.id));
            service.is_none_or(|service| service.enabled)
        };
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for id in pace::each(dirty.routes.iter().chain(dirty.endpoints.difference(&dirty.routes))) {
            let Some(route) = from.routes.get(id).filter(is_served) else {
                removed.push(*id);
                continue;
            };
            let scope = Scope { route: Some(*id), service: route.service.as_ref().map(|s| s.id) };
            let plan = self.links.has_own(*id).then(|| Arc::new(Plan::new(&self.current.instances, scope)));
            let service = scope.service.map(|service| self.numbers.of(service));
            added.push(Endpoint::new(route.clone(), service, plan, self.env.flavor));
        }
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let (router, errors) = self.current.router.with_changes(&removed, added);
        self.current.router = Arc::new(router);
        problems.extend(errors.iter().map(ToString::to_string));
    }

    /// Takes back the numbers of services that are gone, and that no route names any more.
    fn settle_numbers(&mut self, dirty: &Dirty, from: &Configuration) {
        for id in dirty.services.iter().chain(&dirty.left) {
            if !from.services.contains_key(id) && self.links.routes_of(*id).is_empty() {
                self.numbers.forget(*id);
            }
        }
    }
}

/// Notes whose plans a plugin is in.
fn touch_plans(scope: Scope, is_other: bool, links: &Links, dirty: &mut Dirty) {
    match scope {
        _ if !is_other => {}
        Scope { route: Some(route), .. } => {
            dirty.endpoints.insert(route);
        }
        Scope { route: None, service: Some(service) } => {
            dirty.services.insert(service);
            dirty.endpoints.extend(links.routes_of(service).iter().filter(|route| links.has_own(**route)));
        }
        Scope { route: None, service: None } => dirty.is_global_plan = true,
    }
}
