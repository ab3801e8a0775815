//! Which clients are asked for a certificate in the TLS handshake: those that may reach a route whose plugins want one, which
//! then is by server name all that is known of them.

use ahash::HashMap;
use entities::Route;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Names (DER) of the authorities that a client is told; none: it chooses among all its certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints(pub(crate) BTreeSet<Vec<u8>>);

impl Hints {
    /// Where one of two is content with any certificate, none may be kept back.
    fn and(&self, other: &Self) -> Self {
        if self.0.is_empty() || other.0.is_empty() {
            return Self::default();
        }
        Self(self.0.union(&other.0).cloned().collect())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// While it is made: the routes, and what their plugins want.
    routes: HashMap<Uuid, (Arc<Route>, Hints)>,
    everybody: Option<Hints>,
    by_name: HashMap<String, Hints>,
    /// Names that begin or end with `*`, which only the flavor of expressions takes.
    by_pattern: Vec<(String, Hints)>,
}

impl Asked {
    /// A plugin on a route wants a certificate. Of several, one that names nobody is content with what the others want.
    pub(super) fn add(&mut self, route: Option<&Arc<Route>>, names: &[Vec<u8>]) {
        let is_tls = |route: &&Arc<Route>| route.protocols.iter().any(|p| matches!(p.as_str(), "https" | "grpcs"));
        if let Some(route) = route.filter(is_tls) {
            let (_, hints) = self.routes.entry(route.id).or_insert_with(|| (route.clone(), Hints::default()));
            hints.0.extend(names.iter().cloned());
        }
    }

    /// A plugin that runs everywhere wants a certificate.
    pub(super) fn add_everybody(&mut self, names: &[Vec<u8>]) {
        self.everybody.get_or_insert_default().0.extend(names.iter().cloned());
    }

    /// Sorts the routes by their server names.
    pub(super) fn finish(&mut self) {
        for (route, hints) in std::mem::take(&mut self.routes).into_values() {
            let names = route.snis.as_deref().unwrap_or_default();
            if names.is_empty() {
                self.everybody = Some(self.everybody.as_ref().map_or_else(|| hints.clone(), |known| known.and(&hints)));
            }
            for name in names {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                if name.contains('*') {
                    self.by_pattern.push((name, hints.clone()));
                } else {
                    let known = self.by_name.entry(name);
                    known.and_modify(|known| *known = known.and(&hints)).or_insert_with(|| hints.clone());
                }
            }
        }
    }

    pub(crate) fn is_nobody(&self) -> bool {
        self.everybody.is_none() && self.by_name.is_empty() && self.by_pattern.is_empty()
    }

    /// What a client of this server name is told; `None`: it is not asked.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<Cow<'_, Hints>> {
        let name = name.map(str::to_ascii_lowercase);
        let by_name = name.iter().filter_map(|name| self.by_name.get(name));
        let fits = |pattern: &str, name: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => name.ends_with(end),
            (_, Some(start)) => name.starts_with(start),
            _ => false,
        };
        let by_pattern =
            self.by_pattern.iter().filter(|(pattern, _)| name.as_deref().is_some_and(|n| fits(pattern, n)));
        let all = self.everybody.iter().chain(by_name).chain(by_pattern.map(|(_, hints)| hints));
        all.map(Cow::Borrowed).reduce(|one, other| Cow::Owned(one.and(&other)))
    }
}

#[cfg(test)]
mod tests;
