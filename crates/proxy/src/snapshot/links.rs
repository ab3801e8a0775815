//! Who depends on whom: what of a snapshot a changed entity touches. Only the builder needs it, so that it is changed in place.

use ahash::{HashMap, HashSet};
use entities::{Plugin, Route, Service, Sni, Target, Upstream};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use uuid::Uuid;

/// Ids by what they belong to.
struct Members<K>(HashMap<K, Vec<Uuid>>);

impl<K> Default for Members<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq> Members<K> {
    fn add(&mut self, of: K, id: Uuid) {
        self.0.entry(of).or_default().push(id);
    }

    fn remove(&mut self, of: &K, id: Uuid) {
        let Some(ids) = self.0.get_mut(of) else { return };
        if let Some(at) = ids.iter().position(|known| *known == id) {
            ids.swap_remove(at);
        }
        if ids.is_empty() {
            self.0.remove(of);
        }
    }

    fn of(&self, key: &K) -> &[Uuid] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }
}

#[derive(Default)]
pub(super) struct Links {
    routes: Members<Uuid>,
    services: Members<String>,
    upstreams: HashMap<String, Uuid>,
    targets: HashMap<Uuid, BTreeMap<Uuid, Arc<Target>>>,
    snis: Members<Uuid>,
    /// Routes and services with plugins of their own, and how many they have.
    own: HashMap<Uuid, usize>,
}

impl Links {
    pub(super) fn route(&mut self, old: Option<&Route>, new: Option<&Route>) {
        if let Some((service, id)) = old.and_then(|route| Some((route.service.as_ref()?.id, route.id))) {
            self.routes.remove(&service, id);
        }
        if let Some((service, id)) = new.and_then(|route| Some((route.service.as_ref()?.id, route.id))) {
            self.routes.add(service, id);
        }
    }

    pub(super) fn service(&mut self, old: Option<&Service>, new: Option<&Service>) {
        if let Some(old) = old {
            self.services.remove(&old.host, old.id);
        }
        if let Some(new) = new {
            self.services.add(new.host.clone(), new.id);
        }
    }

    pub(super) fn upstream(&mut self, old: Option<&Upstream>, new: Option<&Upstream>) {
        if let Some(old) = old.filter(|old| self.upstreams.get(&old.name) == Some(&old.id)) {
            self.upstreams.remove(&old.name);
        }
        if let Some(new) = new {
            self.upstreams.insert(new.name.clone(), new.id);
        }
    }

    pub(super) fn target(&mut self, old: Option<&Target>, new: Option<&Arc<Target>>) {
        if let Some(old) = old
            && let Some(targets) = self.targets.get_mut(&old.upstream.id)
        {
            targets.remove(&old.id);
            if targets.is_empty() {
                self.targets.remove(&old.upstream.id);
            }
        }
        if let Some(new) = new {
            self.targets.entry(new.upstream.id).or_default().insert(new.id, new.clone());
        }
    }

    pub(super) fn sni(&mut self, old: Option<&Sni>, new: Option<&Sni>) {
        if let Some(old) = old {
            self.snis.remove(&old.certificate.id, old.id);
        }
        if let Some(new) = new {
            self.snis.add(new.certificate.id, new.id);
        }
    }

    /// A plugin that runs, or did, on a route or service of its own.
    pub(super) fn plugin(&mut self, entity: &Plugin, is_added: bool) {
        let Some(id) = entity.route.as_ref().or(entity.service.as_ref()).map(|foreign| foreign.id) else { return };
        if is_added {
            *self.own.entry(id).or_default() += 1;
        } else if let Some(count) = self.own.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.own.remove(&id);
            }
        }
    }

    pub(super) fn routes_of(&self, service: Uuid) -> &[Uuid] {
        self.routes.of(&service)
    }

    pub(super) fn services_at(&self, host: &str) -> &[Uuid] {
        self.services.0.get(host).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn upstream_named(&self, name: &str) -> Option<Uuid> {
        self.upstreams.get(name).copied()
    }

    /// In the order of their ids.
    pub(super) fn targets_of(&self, upstream: Uuid) -> Vec<Arc<Target>> {
        self.targets.get(&upstream).map(|targets| targets.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn snis_of(&self, certificate: Uuid) -> &[Uuid] {
        self.snis.of(&certificate)
    }

    /// Whether a route or service has plugins of its own.
    pub(super) fn has_own(&self, id: Uuid) -> bool {
        self.own.contains_key(&id)
    }

    pub(super) fn all_with_own(&self) -> impl Iterator<Item = Uuid> {
        self.own.keys().copied()
    }
}

/// What of a snapshot is to be made anew, by the entities' ids.
#[derive(Default)]
pub(super) struct Dirty {
    /// Routes that the router has to take up again.
    pub(super) routes: HashSet<Uuid>,
    /// Routes whose plan or service may be another.
    pub(super) endpoints: HashSet<Uuid>,
    pub(super) services: HashSet<Uuid>,
    /// Services that routes named which may name them no more.
    pub(super) left: HashSet<Uuid>,
    pub(super) upstreams: HashSet<Uuid>,
    /// Their names, and those that they had.
    pub(super) upstream_names: HashSet<String>,
    pub(super) certificates: HashSet<Uuid>,
    pub(super) snis: HashSet<Uuid>,
    pub(super) is_global_plan: bool,
    /// Which clients are asked for certificates.
    pub(super) is_asked: bool,
}
