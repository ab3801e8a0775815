//! The path of a request: one function, one line a phase.

use crate::http::{Downstream, Refusal};
use crate::phases::access::access;
use crate::phases::forward::{Forwarded, forward};
use crate::phases::grpc_exit;
use crate::phases::header_filter::header_filter;
use crate::phases::log::log;
use crate::phases::request_debug;
use crate::phases::response::response;
use crate::phases::rewrite::rewrite;
use crate::phases::route::route;
use crate::phases::send::send;
use crate::phases::trace::trace;
use crate::snapshot::{Chosen, Snapshot};
use crate::worker::Thread;
use pdk::{Client, Context, Flow, Request, Response, Source, Version};
use std::rc::Rc;
use std::time::Instant;

/// A request that ends before its upstream has answered.
pub(crate) struct Exit {
    pub(crate) response: Box<Response>,
    pub(crate) source: Source,
}

impl Exit {
    pub(crate) fn new(response: Response) -> Self {
        Self { response: Box::new(response), source: Source::Exit }
    }

    /// What a plugin's phase ended with.
    pub(crate) fn of(flow: Flow) -> Result<(), Self> {
        match flow {
            Flow::Continue => Ok(()),
            Flow::Exit(response) => Err(Self { source: Source::of_exit(&response), response }),
        }
    }

    /// An error on the way to the upstream.
    pub(crate) fn error(response: Response) -> Self {
        Self { response: Box::new(response), source: Source::Error }
    }
}

/// Answers a request.
pub(crate) async fn handle(thread: Rc<Thread>, request: Request, client: Client, mut to: Downstream) {
    let _busy = Busy::new(&thread);
    let pinned = thread.pin();
    let mut cx = thread.context(&pinned, request, client);
    trace(&pinned.snapshot, &mut cx);
    request_debug::begin(&thread.proxy.settings, &mut cx);
    let mut chosen = pinned.snapshot.global.chosen(None, &pinned.snapshot.consumers, &pinned.snapshot.instances);
    let answered = answer(&thread, &pinned.snapshot, &mut cx, &mut chosen, &mut to).await;
    let forwarded = answered.unwrap_or_else(|mut exit| {
        if exit.source == Source::Exit {
            grpc_exit::translate(&cx, &mut exit.response);
        }
        cx.respond(*exit.response, exit.source);
        Forwarded::default()
    });
    header_filter(&thread, &mut cx, &chosen);
    if cx.head_waits() {
        cx.settle_head().await;
    }
    send(&mut cx, &chosen, forwarded, &mut to).await;
    cx.timing.end = Some(Instant::now());
    log(&thread, &mut cx, &chosen, &to);
}

/// The phases up to the upstream's answer, which lands in the context; or the answer that ends the request earlier.
async fn answer<'a>(
    thread: &Thread,
    snapshot: &'a Snapshot,
    cx: &mut Context<'a>,
    chosen: &mut Chosen<'a>,
    to: &mut Downstream,
) -> Result<Forwarded, Exit> {
    rewrite(chosen, cx, to).await?;
    let routed = route(thread, snapshot, cx)?;
    access(routed.plan, &snapshot.instances, cx, chosen, to).await?;
    let forwarded = forward(thread, snapshot, routed, cx, to).await?;
    response(thread, chosen, cx, to).await?;
    Ok(forwarded)
}

/// Answers what is no HTTP request: as in Kong the global plugins see the answer, and nothing but the answer.
pub(crate) async fn refuse(thread: Rc<Thread>, request: Request, client: Client, refusal: Refusal, mut to: Downstream) {
    let _busy = Busy::new(&thread);
    let pinned = thread.pin();
    let mut cx = thread.context(&pinned, request, client);
    let chosen = pinned.snapshot.global.chosen(None, &pinned.snapshot.consumers, &pinned.snapshot.instances);
    let Refusal { status, message } = refusal;
    let mut response = match message {
        "" => Response::bare(&cx, status),
        message => Response::proxy_error(&cx, status, message),
    };
    if status == 497 {
        response.status = 400;
    }
    if cx.request.version < Version::Http2 {
        response.headers.append("Connection", b"close");
    }
    cx.respond(response, Source::Error);
    header_filter(&thread, &mut cx, &chosen);
    send(&mut cx, &chosen, Forwarded::default(), &mut to).await;
    cx.timing.end = Some(Instant::now());
    log(&thread, &mut cx, &chosen, &to);
}

/// Counts a request while it is in work, however it ends.
struct Busy<'a>(&'a Thread);

impl<'a> Busy<'a> {
    fn new(thread: &'a Thread) -> Self {
        thread.stats.requests.add(1);
        thread.stats.busy.add(1);
        Self(thread)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.stats.busy.subtract(1);
    }
}

#[cfg(test)]
mod tests {
    use super::handle;

    /// Each request makes, moves and drops this future: what few requests need is boxed where it is awaited.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(handle);
        assert!(size <= 5 * 1024, "{size} bytes");
    }
}
