//! Log messages of requests: kept where they are written until the request's own log phase, which sends them.

use super::Traced;
use super::otlp::{AnyValue, LogRecord, Value, attribute};
use log::kv::Key;
use pdk::Context;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Messages that a thread keeps; the oldest give way. A request that never ends leaves its own behind.
const KEPT: usize = 256;
/// A message is cut here.
const LONGEST: usize = 4096;

/// How many instances send logs.
static WANTED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MESSAGES: RefCell<VecDeque<Message>> = const { RefCell::new(VecDeque::new()) };
}

struct Message {
    request_id: String,
    level: &'static str,
    text: String,
    nanos: u64,
}

/// Keeps messages while it lives.
pub(super) struct Wanted;

impl Wanted {
    pub(super) fn new() -> Self {
        WANTED.fetch_add(1, Relaxed);
        Self
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        WANTED.fetch_sub(1, Relaxed);
    }
}

/// To be told of each message that is written to the error log, with its level by Kong's name. Those with a field
/// `request_id` go where `logs_endpoint` of an instance says.
pub fn note_log(level: &'static str, record: &log::Record<'_>) {
    if WANTED.load(Relaxed) == 0 {
        return;
    }
    let Some(request_id) = record.key_values().get(Key::from("request_id")) else { return };
    let mut text = record.args().to_string();
    text.truncate(text.floor_char_boundary(LONGEST));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let message = Message { request_id: request_id.to_string(), level, text, nanos: now.as_nanos() as u64 };
    MESSAGES.with_borrow_mut(|messages| {
        if messages.len() >= KEPT {
            messages.pop_front();
        }
        messages.push_back(message);
    });
}

/// The messages of a request, which are not kept any longer.
pub(super) fn take(cx: &Context, traced: Option<&Traced>) -> Vec<LogRecord> {
    let mut own = VecDeque::new();
    MESSAGES.with_borrow_mut(|messages| {
        if messages.iter().any(|message| message.request_id == cx.request_id()) {
            let (of_request, others) = messages.drain(..).partition(|message| message.request_id == cx.request_id());
            (own, *messages) = (of_request, others);
        }
    });
    own.into_iter().map(|message| record(message, traced)).collect()
}

fn record(message: Message, traced: Option<&Traced>) -> LogRecord {
    LogRecord {
        time_unix_nano: message.nanos,
        severity_number: severity(message.level),
        severity_text: message.level.to_ascii_uppercase(),
        body: Some(AnyValue { value: Some(Value::Text(message.text)) }),
        attributes: vec![attribute("request.id", message.request_id)],
        flags: traced.map_or(0, |traced| u32::from(traced.is_sampled)),
        trace_id: traced.map_or_else(Vec::new, |traced| traced.trace.value.to_be_bytes().to_vec()),
        span_id: traced.map_or_else(Vec::new, |traced| traced.root.to_be_bytes().to_vec()),
        observed_time_unix_nano: message.nanos,
    }
}

/// OTLP's `SeverityNumber`, as Kong maps its levels.
fn severity(level: &str) -> i32 {
    match level {
        "debug" => 5,
        "info" => 9,
        "notice" => 11,
        "warn" => 13,
        "error" => 17,
        "crit" => 19,
        "alert" => 21,
        "emerg" => 23,
        _ => 0,
    }
}
