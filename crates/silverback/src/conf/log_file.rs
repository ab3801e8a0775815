//! Where a log goes: `off`, a path, a standard stream or a syslog server; an access log may name its format behind it.

use std::path::PathBuf;

use proxy::SyslogTarget;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::{Kind, Wrong};

/// The value of an `*_access_log` or `*_error_log` property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    pub target: LogTarget,
    /// The name of a log format; `None` is the default one.
    pub format: Option<String>,
    text: String,
}

/// Where the lines go; a relative path is below the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
    /// `syslog:server=...`, checked.
    Syslog(String),
}

/// nginx's parameters of `access_log` that need no effect: lines are gathered and written in blocks anyway.
const GATHERING: [&str; 2] = ["buffer=", "flush="];

impl Kind for LogFile {
    const TYPE: &'static str = "log";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut words = text.split_whitespace();
        let target = match words.next().unwrap_or_default() {
            "off" => LogTarget::Off,
            "/dev/stdout" => LogTarget::Stdout,
            "stderr" | "/dev/stderr" => LogTarget::Stderr,
            target if target.starts_with("syslog:") => {
                let parsed = SyslogTarget::parse(target);
                parsed.map_err(|reason| Wrong::Because(format!("has an invalid value: '{text}' ({reason})")))?;
                LogTarget::Syslog(target.to_owned())
            }
            path => LogTarget::File(PathBuf::from(path)),
        };
        let mut format = None;
        for word in words {
            if word.starts_with("if=") || word == "gzip" || word.starts_with("gzip=") {
                let reason = "a log is a path and the name of a format; gzip and if= are not supported";
                return Err(Wrong::Because(format!("has an invalid value: '{text}' ({reason})")));
            }
            if format.is_none() && !GATHERING.iter().any(|known| word.starts_with(known)) {
                format = Some(word.to_owned());
            }
        }
        Ok(Self { target, format, text: text.to_owned() })
    }

    fn dump(&self) -> Value {
        Value::from(self.text.as_str())
    }
}
