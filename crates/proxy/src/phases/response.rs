//! With the whole response at hand, where a plugin asks for that.

use super::deadline::while_client_waits;
use super::forward::cut_off;
use super::request_debug;
use super::rewrite::finish;
use crate::http::Downstream;
use crate::pipeline::Exit;
use crate::snapshot::Chosen;
use crate::worker::Thread;
use pdk::{Context, Phases, Response};

pub(crate) async fn response(
    thread: &Thread,
    chosen: &Chosen<'_>,
    cx: &mut Context<'_>,
    to: &Downstream,
) -> Result<(), Exit> {
    if !chosen.any(Phases::RESPONSE) {
        return Ok(());
    }
    let mut whole = Box::pin(cx.response.collect(thread.proxy.settings.response_buffer));
    let collected = while_client_waits(to, whole.as_mut()).await;
    drop(whole);
    if collected.map_err(|cut| cut_off(cx, cut))?.is_err() {
        return Err(Exit::error(Response::proxy_error(cx, 502, pdk::default_message(502))));
    }
    request_debug::enter(cx, "response");
    for built in chosen.iter().filter(|b| b.phases.contains(Phases::RESPONSE)) {
        let started = request_debug::start(cx);
        let done = finish(built.plugin.response(cx), to).await;
        request_debug::end_plugin(cx, started, built);
        Exit::of(done.map_err(|cut| cut_off(cx, cut))?)?;
    }
    Ok(())
}
