//! Before routing: the rewrite phase of the global plugins.

use super::deadline::{Cut, while_client_waits};
use super::forward::cut_off;
use super::request_debug;
use crate::http::Downstream;
use crate::pipeline::Exit;
use crate::snapshot::Chosen;
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Flow, Phases, Step};
use std::pin::pin;

pub(crate) async fn rewrite(chosen: &Chosen<'_>, cx: &mut Context<'_>, to: &Downstream) -> Result<(), Exit> {
    request_debug::enter(cx, "rewrite");
    for built in chosen.iter().filter(|b| b.phases.contains(Phases::REWRITE)) {
        let mark = cx.mark(Instrumentations::PLUGIN_REWRITE);
        let started = request_debug::start(cx);
        let done = finish(built.plugin.rewrite(cx), to).await;
        request_debug::end_plugin(cx, started, built);
        cx.record(mark, Part::Rewrite(built.name));
        Exit::of(done.map_err(|cut| cut_off(cx, cut))?)?;
    }
    Ok(())
}

/// Waits for a step where it has to be waited for, as long as the client does.
pub(crate) async fn finish(step: Step<'_>, to: &Downstream) -> Result<Flow, Cut> {
    match step {
        Step::Continue => Ok(Flow::Continue),
        Step::Exit(response) => Ok(Flow::Exit(response)),
        Step::Wait(wait) => while_client_waits(to, pin!(wait)).await,
    }
}
