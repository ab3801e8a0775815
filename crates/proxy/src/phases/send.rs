//! The response to the client: its head, its body through the plugins' body_filter phase, its end.

use super::forward::Forwarded;
use super::request_debug;
use crate::http::{BodyLength, ClientGone, Downstream, tunnel};
use crate::snapshot::Chosen;
use bytes::Bytes;
use pdk::digits::decimal;
use pdk::{Body, BodyError, Chunk, Context, Frame, Headers, Method, Phases, Response, Version};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

/// How long a tunnel may stay silent where no service says.
const TUNNEL: Duration = Duration::from_secs(60);

/// Sends the response. What goes wrong here ends the connection: the client must not take a part for the whole.
pub(crate) async fn send(cx: &mut Context<'_>, chosen: &Chosen<'_>, forwarded: Forwarded, to: &mut Downstream) {
    let Forwarded { reason, upgraded, pick, room } = forwarded;
    if let Some(upstream) = upgraded {
        let _ = to.head(cx.response.status, &reason, &cx.response.headers, BodyLength::None);
        if to.flush().await.is_ok()
            && let Some(client) = to.upgrade()
        {
            let own = cx.route.and_then(|route| route.read_timeout).map(|ms| u64::from(ms.get()));
            let of_service = || cx.service?.read_timeout?.try_into().ok();
            let idle = own.or_else(of_service);
            Box::pin(tunnel::run(client, upstream, idle.map_or(TUNNEL, Duration::from_millis))).await;
        }
        return;
    }
    let is_here = !cx.response.body.is_stream();
    if relay(cx, chosen, &reason, to).await.is_err() {
        to.abort();
    }
    drop((pick, room));
    let came = cx.timing.upstream_head;
    cx.timing.upstream_end = if is_here { came } else { came.map(|_| Instant::now()) };
}

/// Why the response did not go out whole.
enum Broken {
    Client,
    Body,
}

impl From<ClientGone> for Broken {
    fn from(_: ClientGone) -> Self {
        Self::Client
    }
}

async fn relay(cx: &mut Context<'_>, chosen: &Chosen<'_>, reason: &[u8], to: &mut Downstream) -> Result<(), Broken> {
    let mut filters = BodyFilters::new(chosen);
    let mut body = std::mem::take(&mut cx.response.body);
    if !Response::may_have_body(cx.response.status) || cx.request.method == Method::Head {
        if let Body::Bytes(bytes) = &body
            && Response::may_have_body(cx.response.status)
        {
            cx.response.headers.set("Content-Length", bytes.len().to_string().as_bytes());
        }
        if cx.response.status == 204 {
            // A length would say something of a body that cannot be (RFC 9110, 8.6).
            cx.response.headers.remove("content-length");
        }
        filters.run(cx, Bytes::new(), true);
        to.head(cx.response.status, reason, &cx.response.headers, BodyLength::None)?;
        return Ok(to.finish(Bytes::new(), None).await?);
    }
    if !body.is_stream() {
        let whole = if let Body::Bytes(bytes) = body { bytes } else { Bytes::new() };
        let whole = filters.run(cx, whole, true);
        let trailers = cx.response.trailers.take();
        let length = if trailers.is_some() { BodyLength::Unknown } else { BodyLength::Known(whole.len() as u64) };
        tell_logs(cx, chosen, length);
        to.head(cx.response.status, reason, &cx.response.headers, length)?;
        return Ok(to.finish(whole, trailers.as_ref()).await?);
    }
    let length = match body.len() {
        Some(length) if filters.is_empty() => BodyLength::Known(length),
        _ => BodyLength::Unknown,
    };
    tell_logs(cx, chosen, length);
    to.head(cx.response.status, reason, &cx.response.headers, length)?;
    // Boxed, as other rare turns are: the future of every request stays small.
    let (last, trailers) = Box::pin(stream(cx, &mut filters, &mut body, to)).await?;
    let last = if filters.is_empty() { last } else { filters.run(cx, last, true) };
    Ok(to.finish(last, trailers.as_ref()).await?)
}

/// What logs show of the framing; the engine writes its own fields.
fn tell_logs(cx: &mut Context, chosen: &Chosen<'_>, length: BodyLength) {
    if chosen.any(Phases::LOG)
        && let BodyLength::Known(length) = length
    {
        let mut digits = [0; 20];
        let length = decimal(length, &mut digits);
        // An upstream has mostly said it already.
        let headers = &mut cx.response.headers;
        let is_said = {
            let mut known = headers.get_all("content-length");
            known.next() == Some(length) && known.next().is_none()
        };
        if !is_said {
            headers.set("Content-Length", length);
        }
    }
}

/// Passes on the body; its last piece and the trailers come back, to go out in one with the end.
async fn stream(
    cx: &mut Context<'_>,
    filters: &mut BodyFilters<'_, '_>,
    body: &mut Body,
    to: &mut Downstream,
) -> Result<(Bytes, Option<Headers>), Broken> {
    let mut held: Option<Bytes> = None;
    let mut is_first = true;
    let mut ahead = Ahead::new(cx);
    let mut watch = to.watch();
    loop {
        let frame = match poll_fn(|task| Poll::Ready(ahead.next(body, task))).await {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                // Nothing more for now: what is here goes out.
                match held.take() {
                    Some(data) => ahead.pass(to, filters.run(cx, data, false), body).await?,
                    None if is_first => to.flush().await?,
                    None => {}
                }
                is_first = false;
                poll_fn(|task| match ahead.next(body, task) {
                    Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                    Poll::Pending => to.poll_gone(&mut watch, task).map(|()| Err(ClientGone)),
                })
                .await?
            }
        };
        match frame {
            Some(Ok(Frame::Data(data))) => {
                if let Some(before) = held.replace(data) {
                    ahead.pass(to, filters.run(cx, before, false), body).await?;
                    is_first = false;
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                let is_wanted = to.version() == Version::Http2 || cx.request.headers.get("te").is_some();
                return Ok((held.unwrap_or_default(), is_wanted.then_some(trailers)));
            }
            None => return Ok((held.unwrap_or_default(), None)),
            Some(Err(error)) => {
                log_broken(cx, error);
                // What came together with a framing that is none is as little to be trusted: the head has not gone out either.
                let is_nonsense = is_first && error == BodyError::Malformed;
                if let Some(data) = held.take().filter(|_| !is_nonsense) {
                    to.data(data).await?;
                }
                return Err(Broken::Body);
            }
        }
    }
}

/// How much of a body is read while its client is slow to take what it has (`response_buffering`).
const AHEAD: usize = 256 * 1024;

/// What an upstream was relieved of before its client took it: a short answer frees the upstream at its own pace.
struct Ahead {
    frames: VecDeque<Option<Result<Frame, BodyError>>>,
    bytes: usize,
    limit: usize,
}

impl Ahead {
    fn new(cx: &Context) -> Self {
        let is_buffered = cx.route.is_some_and(|route| route.response_buffering);
        Self { frames: VecDeque::new(), bytes: 0, limit: if is_buffered { AHEAD } else { 0 } }
    }

    fn next(&mut self, body: &mut Body, task: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self.frames.pop_front() {
            Some(frame) => {
                if let Some(Ok(Frame::Data(data))) = &frame {
                    self.bytes -= data.len();
                }
                Poll::Ready(frame)
            }
            None => body.poll_next(task),
        }
    }

    /// Sends a piece; while the client does not take it, reads on.
    async fn pass(&mut self, to: &mut Downstream, data: Bytes, body: &mut Body) -> Result<(), ClientGone> {
        let mut sending = pin!(to.data(data));
        poll_fn(|task| {
            let sent = sending.as_mut().poll(task);
            if sent.is_pending() {
                self.fill(body, task);
            }
            sent
        })
        .await
    }

    fn fill(&mut self, body: &mut Body, task: &mut Task<'_>) {
        // What ended or broke off is not asked again.
        while self.bytes < self.limit
            && !matches!(self.frames.back(), Some(None | Some(Err(_) | Ok(Frame::Trailers(_)))))
        {
            let Poll::Ready(frame) = body.poll_next(task) else { return };
            if let Some(Ok(Frame::Data(data))) = &frame {
                self.bytes += data.len();
            }
            self.frames.push_back(frame);
        }
    }
}

fn log_broken(cx: &Context, error: BodyError) {
    log::warn!(request_id = cx.request_id(); "the upstream's response broke off: {error}");
}

/// The plugins that change bodies.
struct BodyFilters<'c, 'a> {
    chosen: &'c Chosen<'a>,
    is_empty: bool,
}

impl<'c, 'a> BodyFilters<'c, 'a> {
    fn new(chosen: &'c Chosen<'a>) -> Self {
        Self { is_empty: !chosen.any(Phases::BODY_FILTER), chosen }
    }

    fn is_empty(&self) -> bool {
        self.is_empty
    }

    fn run(&mut self, cx: &mut Context, data: Bytes, is_last: bool) -> Bytes {
        if self.is_empty {
            return data;
        }
        let mut chunk = Chunk { data, is_last };
        request_debug::enter(cx, "body_filter");
        for built in self.chosen.iter().filter(|b| b.phases.contains(Phases::BODY_FILTER)) {
            let started = request_debug::start(cx);
            built.plugin.body_filter(cx, &mut chunk);
            request_debug::end_plugin(cx, started, built);
        }
        request_debug::leave(cx);
        chunk.data
    }
}

#[cfg(test)]
mod tests {
    use super::Ahead;
    use bytes::Bytes;
    use pdk::{Body, BodyError, BodyStream, Frame};
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context as Task, Poll, Waker};

    /// Pieces of four bytes, always there.
    struct Ready(u8);

    impl BodyStream for Ready {
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
            let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
            self.0 = left;
            Poll::Ready(Some(Ok(Frame::Data(Bytes::from(vec![left; 4])))))
        }

        fn remaining(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn reading_ahead_has_a_bound_and_keeps_the_order() {
        let mut task = Task::from_waker(Waker::noop());
        for (limit, read) in [(0, 0), (4, 1), (10, 3), (100, 6)] {
            let mut body = Body::Stream(Box::pin(Ready(5)));
            let mut ahead = Ahead { frames: VecDeque::new(), bytes: 0, limit };
            for _ in 0..2 {
                ahead.fill(&mut body, &mut task);
                assert_eq!(ahead.frames.len(), read, "{limit}");
            }
            let mut seen = Vec::new();
            while let Poll::Ready(Some(Ok(Frame::Data(data)))) = ahead.next(&mut body, &mut task) {
                seen.push(data[0]);
            }
            assert_eq!((seen, ahead.bytes), (vec![4, 3, 2, 1, 0], 0), "{limit}");
        }
    }
}
