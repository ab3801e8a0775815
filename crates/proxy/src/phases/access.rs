//! Before the upstream is contacted: who may pass, how often, in which shape.

use super::deadline::while_client_waits;
use super::forward::cut_off;
use super::request_debug;
use crate::http::Downstream;
use crate::pipeline::Exit;
use crate::snapshot::{Chosen, Instances, Plan};
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Flow, Phases, Step};
use std::pin::pin;

/// Runs the plan. What it chose stays chosen for the response phases, also behind an exit (Kong's rule).
pub(crate) async fn access<'a>(
    plan: &'a Plan,
    instances: &'a Instances,
    cx: &mut Context<'_>,
    chosen: &mut Chosen<'a>,
    to: &Downstream,
) -> Result<(), Exit> {
    let fixed = plan.fixed();
    let mut own = Vec::new();
    match fixed {
        Some(fixed) => *chosen = Chosen::Fixed(fixed),
        None => own.reserve(plan.len()),
    }
    let mut ended = Ok(());
    for at in 0..plan.len() {
        let built = if let Some(fixed) = fixed {
            &fixed[at]
        } else {
            let consumer = cx.consumer.as_ref().map(|c| c.id);
            let Some(built) = plan.choose(at, consumer, &cx.shared.consumers, instances) else { continue };
            own.push(built);
            built
        };
        if !built.phases.contains(Phases::ACCESS) || ended.is_err() {
            continue;
        }
        let mark = cx.mark(Instrumentations::PLUGIN_ACCESS);
        let started = request_debug::start(cx);
        // Here and not in a function that waits: most plugins do not, and need no future.
        let flow = match built.plugin.access(cx) {
            Step::Continue => Ok(Flow::Continue),
            Step::Exit(response) => Ok(Flow::Exit(response)),
            Step::Wait(wait) => while_client_waits(to, pin!(wait)).await,
        };
        request_debug::end_plugin(cx, started, built);
        cx.record(mark, Part::Access(built.name));
        ended = flow.map_err(|cut| cut_off(cx, cut)).and_then(Exit::of);
    }
    if fixed.is_none() {
        *chosen = Chosen::Own(own);
    }
    ended
}
