//! The access log: a line a request, gathered by thread and written in blocks.

mod escape;
mod format;
mod syslog;
#[cfg(test)]
mod tests;
mod variables;

pub use format::CustomFormat;
pub use syslog::{Syslog, SyslogTarget};

use crate::http::date::civil;
use crate::http::h1::server::push_number;
use crate::phases::upstream_head::push_ip;
use escape::escape;
use pdk::Context;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use variables::{Facts, remote_user};

/// When a buffer is written out, beside once a second.
const FULL: usize = 32 * 1024;

/// How a line looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Kong's: nginx's combined format and the request id.
    Kong,
    /// One JSON object.
    Json,
    /// The user's own (`log_format`).
    Custom(Arc<CustomFormat>),
}

/// Where lines are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    File(PathBuf),
    Stdout,
    Stderr,
    Syslog(SyslogTarget),
}

/// Where lines go.
enum Target {
    File { path: PathBuf, file: File },
    Stdout,
    Stderr,
    Syslog(Syslog),
}

/// One thread's access log.
pub struct AccessLog {
    target: Target,
    format: LogFormat,
    buffer: Vec<u8>,
    /// Grows when log files are to be opened anew.
    generation: Arc<AtomicU64>,
    opened: u64,
    date: String,
    /// When the date is another one: the second's end.
    until: Option<Instant>,
    hostname: String,
}

impl AccessLog {
    /// # Errors
    /// When the file cannot be opened, or the syslog server's name has no address.
    pub fn open(to: &LogTarget, format: LogFormat, hostname: &str, generation: Arc<AtomicU64>) -> io::Result<Self> {
        let target = match to {
            LogTarget::Stdout => Target::Stdout,
            LogTarget::Stderr => Target::Stderr,
            LogTarget::Syslog(target) => Target::Syslog(Syslog::open(target, hostname)?),
            LogTarget::File(path) => {
                Target::File { file: OpenOptions::new().create(true).append(true).open(path)?, path: path.clone() }
            }
        };
        let opened = generation.load(Ordering::Relaxed);
        let buffer = Vec::with_capacity(FULL + 1024);
        let hostname = hostname.to_owned();
        Ok(Self { target, format, buffer, generation, opened, date: String::new(), until: None, hostname })
    }

    pub(crate) fn write(&mut self, cx: &Context, body_sent: u64) {
        let end = cx.timing.end.unwrap_or_else(Instant::now);
        if self.until.is_none_or(|until| end >= until) {
            let at = cx.shared.clock.now();
            self.date = local_time(at.as_secs());
            self.until = Some(end + Duration::from_nanos(1_000_000_000 - u64::from(at.subsec_nanos())));
        }
        match &self.format {
            LogFormat::Kong => self.write_kong(cx, body_sent),
            LogFormat::Json => self.write_json(cx, body_sent),
            LogFormat::Custom(format) => {
                let facts = Facts { cx, now: cx.shared.clock.now(), body_sent, hostname: &self.hostname };
                format.write(&mut self.buffer, &facts);
            }
        }
        if self.buffer.len() >= FULL {
            self.flush();
        }
    }

    fn write_kong(&mut self, cx: &Context, body_sent: u64) {
        // A line a request: written piece by piece, since formatting costs more than all of this together.
        let out = &mut self.buffer;
        let request = &cx.request;
        push_ip(out, cx.client.ip);
        out.extend_from_slice(b" - ");
        if request.headers.contains("authorization") {
            let mut user = Vec::new();
            remote_user(&mut user, &request.headers);
            escape(out, if user.is_empty() { b"-" } else { &user });
        } else {
            out.push(b'-');
        }
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.date.as_bytes());
        out.extend_from_slice(b"] \"");
        if !request.target().is_empty() {
            out.extend_from_slice(request.method.as_str().as_bytes());
            out.push(b' ');
            escape(out, request.target());
            out.push(b' ');
            out.extend_from_slice(request.version.protocol().as_bytes());
        }
        out.extend_from_slice(b"\" ");
        push_number(out, cx.response.status.into());
        out.push(b' ');
        push_number(out, body_sent);
        out.extend_from_slice(b" \"");
        escape(out, request.headers.get("referer").unwrap_or(b"-"));
        out.extend_from_slice(b"\" \"");
        escape(out, request.headers.get("user-agent").unwrap_or(b"-"));
        out.extend_from_slice(b"\" kong_request_id: \"");
        out.extend_from_slice(cx.request_id().as_bytes());
        out.extend_from_slice(b"\"\n");
    }

    fn write_json(&mut self, cx: &Context, body_sent: u64) {
        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
        let request = &cx.request;
        let line = serde_json::json!({
            "time": self.date,
            "client_ip": cx.client.ip.to_string(),
            "method": request.method.as_str(),
            "uri": text(Some(request.target())),
            "protocol": request.version.protocol(),
            "status": cx.response.status,
            "body_bytes_sent": body_sent,
            "referer": text(request.headers.get("referer")),
            "user_agent": text(request.headers.get("user-agent")),
            "request_id": cx.request_id(),
            "request_ms": cx.timing.total_ms(),
            "upstream_ms": cx.timing.upstream_ms(),
            "route": cx.route.and_then(|r| r.name.as_deref()),
            "service": cx.service.and_then(|s| s.name.as_deref()),
        });
        let _ = writeln!(self.buffer, "{line}");
    }

    /// Writes out what was gathered. A log that cannot be written costs its lines, never a request.
    pub(crate) fn flush(&mut self) {
        let generation = self.generation.load(Ordering::Relaxed);
        if generation != self.opened
            && let Target::File { path, file } = &mut self.target
        {
            self.opened = generation;
            match OpenOptions::new().create(true).append(true).open(&path) {
                Ok(new) => *file = new,
                Err(error) => log::error!("the access log {} cannot be opened: {error}", path.display()),
            }
        }
        if self.buffer.is_empty() {
            return;
        }
        let written = match &mut self.target {
            Target::File { file, .. } => file.write_all(&self.buffer),
            Target::Stdout => io::stdout().write_all(&self.buffer),
            Target::Stderr => io::stderr().write_all(&self.buffer),
            Target::Syslog(syslog) => match syslog.send(&self.buffer, |_| None) {
                0 => Ok(()),
                lost => Err(io::Error::other(format!("the syslog server did not take {lost} lines"))),
            },
        };
        if let Err(error) = written {
            log::error!("the access log cannot be written: {error}");
        }
        self.buffer.clear();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `21/Nov/2026:09:59:59 +0000`: UTC, as containers run.
fn local_time(seconds: u64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = civil(seconds / 86_400);
    let month = MONTHS[(month as usize + 11) % 12];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}
