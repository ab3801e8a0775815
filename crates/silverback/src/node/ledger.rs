//! The store's counts, as plugins see them.

use pdk::Count;
use std::sync::Arc;
use store::Store;

pub(super) struct Ledger(pub(super) Arc<dyn Store>);

impl pdk::Ledger for Ledger {
    fn add(&self, counts: &[Count]) -> Result<Vec<i64>, String> {
        let counts: Vec<store::Count<'_>> = counts
            .iter()
            .map(|count| store::Count {
                identifier: &count.identifier,
                route: count.route,
                service: count.service,
                limit: count.limit.as_deref(),
                period: count.period,
                start: count.start,
                delta: count.delta,
                ttl: count.ttl,
            })
            .collect();
        self.0.count(&counts).map_err(|error| error.to_string())
    }
}
