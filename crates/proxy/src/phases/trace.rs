//! Decides whether a request is recorded, before anything else happens to it.

use crate::snapshot::Snapshot;
use pdk::Context;
use pdk::trace::{Trace, has_context};

/// Recorded are the requests of the share that a plugin may sample, and those that say that they are part of a trace: the
/// trace's own decision is read later.
pub(crate) fn trace(snapshot: &Snapshot, cx: &mut Context) {
    let Some((tracing, share)) = snapshot.traced else { return };
    let chance = fastrand::f64();
    if chance < share || has_context(&cx.request.headers) {
        cx.trace = Some(Box::new(Trace::new(tracing, chance)));
    }
}
