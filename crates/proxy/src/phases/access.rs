//! Before the upstream is contacted: who may pass, how often, in which shape.

use super::request_debug;
use super::rewrite::finish;
use crate::pipeline::Exit;
use crate::snapshot::{Built, Chosen, Instances, Plan};
use pdk::trace::{Instrumentations, Part};
use pdk::{Context, Phases};

/// Runs the plan. What it chose stays chosen for the response phases, also behind an exit (Kong's rule).
pub(crate) async fn access<'a>(
    plan: &'a Plan,
    instances: &'a Instances,
    cx: &mut Context,
    chosen: &mut Chosen<'a>,
) -> Result<(), Exit> {
    if let Some(fixed) = plan.fixed() {
        *chosen = Chosen::Fixed(fixed);
        for built in fixed.iter().filter(|b| b.phases.contains(Phases::ACCESS)) {
            run(built, cx).await?;
        }
        return Ok(());
    }
    let mut own = Vec::with_capacity(plan.len());
    let mut ended = Ok(());
    for at in 0..plan.len() {
        let consumer = cx.consumer.as_ref().map(|c| c.id);
        let shared = cx.shared.clone();
        let Some(built) = plan.choose(at, consumer, &shared.consumers, instances) else { continue };
        own.push(built);
        if ended.is_ok() && built.phases.contains(Phases::ACCESS) {
            ended = run(built, cx).await;
        }
    }
    *chosen = Chosen::Own(own);
    ended
}

async fn run(built: &Built, cx: &mut Context) -> Result<(), Exit> {
    let mark = cx.mark(Instrumentations::PLUGIN_ACCESS);
    let started = request_debug::start(cx);
    let done = finish(built.plugin.access(cx)).await;
    request_debug::end_plugin(cx, started, built);
    cx.record(mark, Part::Access(built.name));
    done
}
