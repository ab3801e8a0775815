//! Where the time of one request went, for who asks with `X-Kong-Request-Debug` and may (router.md, 12). Requests that do not
//! ask carry nothing for it.

use crate::settings::Settings;
use crate::snapshot::Built;
use pdk::Context;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// From this length on the header of a client elsewhere says only where to look.
const HEADER: usize = 2048;
/// A longer output is logged in parts.
const LINE: usize = 3072;

/// A step and what it consists of.
#[derive(Default)]
struct Node {
    name: Cow<'static, str>,
    /// Its own time; without one, that of its children.
    time: Option<Duration>,
    facts: Vec<(&'static str, Value)>,
    children: Vec<Node>,
}

impl Node {
    fn child(&mut self, name: Cow<'static, str>) -> &mut Node {
        let at = self.children.iter().position(|c| c.name == name).unwrap_or(self.children.len());
        if at == self.children.len() {
            self.children.push(Node { name, ..Node::default() });
        }
        &mut self.children[at]
    }

    fn total(&self) -> Duration {
        self.time.unwrap_or_else(|| self.children.iter().map(Node::total).sum())
    }

    fn show(&self) -> Value {
        let mut out = Map::new();
        out.insert("total_time".to_owned(), millis(self.total()));
        out.extend(self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        if !self.children.is_empty() {
            let children = self.children.iter().map(|c| (c.name.clone().into_owned(), c.show()));
            out.insert("child".to_owned(), children.collect::<Map<_, _>>().into());
        }
        out.into()
    }
}

/// Milliseconds with two decimals.
fn millis(time: Duration) -> Value {
    json!((time.as_secs_f64() * 100_000.0).round() / 100.0)
}

/// The phases so far. It travels in the request's context.
struct Trace {
    root: Node,
    /// The phase that runs, and since when.
    open: Option<(&'static str, Instant)>,
    is_logged: bool,
    /// Whether the peer is on this machine.
    is_local: bool,
}

impl Trace {
    fn close(&mut self, now: Instant) {
        if let Some((phase, since)) = self.open.take() {
            let node = self.root.child(phase.into());
            *node.time.get_or_insert_default() += now.saturating_duration_since(since);
        }
    }

    /// The whole tree as of now.
    fn show(&mut self, cx: &Context, now: Instant) -> String {
        self.close(now);
        if let Some(head) = cx.timing.upstream_head
            && let Some(sent) = cx.timing.access_end
        {
            let first = self.root.child("upstream".into()).child("time_to_first_byte".into());
            first.time = Some(head.saturating_duration_since(sent));
        }
        let own = self.root.children.iter().filter(|c| c.name != "upstream").map(Node::total).sum();
        self.root.time = Some(now.saturating_duration_since(cx.timing.start));
        self.root.facts = vec![
            ("request_id", cx.request_id().into()),
            ("workspace_id", cx.shared.node.workspace_id.to_string().into()),
            ("total_time_without_upstream", millis(own)),
        ];
        self.root.show().to_string()
    }
}

/// Begins, where the client asks and may.
pub(crate) fn begin(settings: &Settings, cx: &mut Context) {
    let Some(token) = &settings.request_debug else { return };
    if cx.request.headers.get("x-kong-request-debug") != Some(&b"*"[..]) {
        return;
    }
    let is_local = cx.client.peer.ip().to_canonical().is_loopback();
    let told = cx.request.headers.get("x-kong-request-debug-token");
    if !is_local && !told.is_some_and(|told| is_same(told, token.as_bytes())) {
        return;
    }
    let is_logged = cx.request.headers.get("x-kong-request-debug-log") == Some(&b"true"[..]);
    cx.data.set(Trace { root: Node::default(), open: None, is_logged, is_local });
}

/// Compares in a time that does not tell where the first difference is.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// A phase begins, and the one before ends.
pub(crate) fn enter(cx: &mut Context, phase: &'static str) {
    if let Some(trace) = cx.data.get_mut::<Trace>() {
        let now = Instant::now();
        trace.close(now);
        trace.open = Some((phase, now));
    }
}

/// The phase that runs ends, and none begins.
pub(crate) fn leave(cx: &mut Context) {
    if let Some(trace) = cx.data.get_mut::<Trace>() {
        trace.close(Instant::now());
    }
}

/// The time, for a step that is to be measured; `None` where nobody asks.
pub(crate) fn start(cx: &Context) -> Option<Instant> {
    cx.data.get::<Trace>().map(|_| Instant::now())
}

/// A step of the phase that runs has ended.
pub(crate) fn end(cx: &mut Context, started: Option<Instant>, path: &[&str], facts: &[(&'static str, Value)]) {
    let Some(started) = started else { return };
    let Some(trace) = cx.data.get_mut::<Trace>() else { return };
    let Some((phase, _)) = trace.open else { return };
    let mut node = trace.root.child(phase.into());
    for name in path {
        node = node.child(Cow::Owned((*name).to_owned()));
    }
    *node.time.get_or_insert_default() += started.elapsed();
    node.facts = facts.to_vec();
}

/// A plugin's part of the phase that runs has ended.
pub(crate) fn end_plugin(cx: &mut Context, started: Option<Instant>, built: &Built) {
    if started.is_some() {
        let entity = built.entity();
        end(cx, started, &["plugins", &entity.name, &entity.id.to_string()], &[]);
    }
}

/// Tells the client, at the end of the header_filter phase.
pub(crate) fn tell(cx: &mut Context) {
    let Some(mut trace) = cx.data.take::<Trace>() else { return };
    let mut output = trace.show(cx, Instant::now());
    if output.len() >= HEADER && !trace.is_local {
        trace.is_logged = true;
        let id = cx.request_id();
        let message =
            "Output is truncated, please check the error_log for full output by filtering with the request_id.";
        output = json!({ "truncated": true, "request_id": id, "message": message }).to_string();
    }
    cx.response.headers.set("X-Kong-Request-Debug-Output", output.as_bytes());
    cx.data.set(trace);
}

/// The last word, with the phases behind the head: to the error log, where it is asked for or the header had no room.
pub(crate) fn log(cx: &mut Context) {
    let Some(mut trace) = cx.data.take::<Trace>() else { return };
    if !trace.is_logged {
        return;
    }
    if let (Some(head), Some(end)) = (cx.timing.upstream_head, cx.timing.upstream_end) {
        let streaming = end.saturating_duration_since(head);
        let upstream = trace.root.child("upstream".into());
        upstream.child("streaming".into()).time = Some(streaming);
        *upstream.time.get_or_insert_default() += streaming;
    }
    let output = trace.show(cx, Instant::now());
    let id = cx.request_id();
    if output.len() < LINE {
        return log::warn!(target: "notice", request_id = id; "[request-debug] output: {output}");
    }
    // JSON with its escapes may hold characters of several bytes.
    let mut parts = Vec::new();
    let mut rest = output.as_str();
    while !rest.is_empty() {
        let (part, more) = rest.split_at(rest.floor_char_boundary(LINE));
        parts.push(part);
        rest = more;
    }
    for (at, part) in parts.iter().enumerate() {
        log::warn!(target: "notice", request_id = id; "[request-debug] parts: {}/{} output: {part}", at + 1, parts.len());
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, is_same};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_step_without_a_time_of_its_own_has_that_of_its_parts() {
        let mut root = Node::default();
        root.child("access".into()).time = Some(Duration::from_micros(2500));
        for (name, micros) in [("acl", 1000), ("cors", 234)] {
            let plugins = root.child("access".into()).child("plugins".into());
            plugins.child(name.into()).time = Some(Duration::from_micros(micros));
        }
        let plugins = json!({ "acl": { "total_time": 1.0 }, "cors": { "total_time": 0.23 } });
        let access = json!({ "total_time": 2.5, "child": { "plugins": { "total_time": 1.23, "child": plugins } } });
        assert_eq!(root.show(), json!({ "total_time": 2.5, "child": { "access": access } }));
    }

    #[test]
    fn only_the_whole_token_opens() {
        for (told, is_open) in [("sesame", true), ("sesam", false), ("sesamE", false), ("", false), ("sesames", false)]
        {
            assert_eq!(is_same(told.as_bytes(), b"sesame"), is_open, "{told}");
        }
    }
}
