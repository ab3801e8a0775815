//! After the last byte: the plugins' log phase, and the access log.

use super::request_debug;
use crate::http::Downstream;
use crate::snapshot::Chosen;
use crate::worker::Thread;
use pdk::{Context, Phases};

pub(crate) fn log(thread: &Thread, cx: &mut Context, chosen: &Chosen<'_>, to: &Downstream) {
    cx.sent = to.sent();
    request_debug::enter(cx, "log");
    for built in chosen.iter().filter(|b| b.phases.contains(Phases::LOG)) {
        let started = request_debug::start(cx);
        built.plugin.log(cx);
        request_debug::end_plugin(cx, started, built);
    }
    request_debug::log(cx);
    write_access_log(thread, cx, to.body_sent());
}

pub(crate) fn write_access_log(thread: &Thread, cx: &Context, body_sent: u64) {
    if let Some(log) = &mut *thread.access_log.borrow_mut() {
        log.write(cx, body_sent);
    }
}
