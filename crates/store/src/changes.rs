//! What a committed transaction changed, and who is told of it.
use serde_json::Value;
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

/// One row written (`value`: the whole row) or removed (`None`).
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub entity: String,
    pub id: Uuid,
    pub value: Option<Value>,
}

/// Hears of every committed change, in the order of the commits and before the writer gets its answer: when a write
/// returns, its followers have applied it. Called under the store's write lock, so it must not write itself.
pub trait Follower: Send + Sync {
    /// The changes of one commit; several transactions may share a commit.
    fn changed(&self, changes: &[Change]);
    /// The whole configuration was replaced: these are all rows there are.
    fn replaced(&self, rows: &[Change]);
}

#[derive(Default)]
pub(crate) struct Followers(RwLock<Vec<Arc<dyn Follower>>>);

impl Followers {
    pub(crate) fn add(&self, follower: Arc<dyn Follower>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(follower);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn changed(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for follower in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            follower.changed(changes);
        }
    }

    pub(crate) fn replaced(&self, rows: &[Change]) {
        for follower in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            follower.replaced(rows);
        }
    }
}
