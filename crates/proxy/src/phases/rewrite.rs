//! Before routing: the rewrite phase of the global plugins.

use super::request_debug;
use crate::pipeline::Exit;
use crate::snapshot::Chosen;
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Phases, Step};

pub(crate) async fn rewrite(chosen: &Chosen<'_>, cx: &mut Context<'_>) -> Result<(), Exit> {
    request_debug::enter(cx, "rewrite");
    for built in chosen.iter().filter(|b| b.phases.contains(Phases::REWRITE)) {
        let mark = cx.mark(Instrumentations::PLUGIN_REWRITE);
        let started = request_debug::start(cx);
        let done = finish(built.plugin.rewrite(cx)).await;
        request_debug::end_plugin(cx, started, built);
        cx.record(mark, Part::Rewrite(built.name));
        done?;
    }
    Ok(())
}

/// Waits for a step where it has to be waited for.
pub(crate) async fn finish(step: Step<'_>) -> Result<(), Exit> {
    Exit::of(step.settle().await)
}
