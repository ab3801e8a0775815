//! Where a log goes: `off`, a path, or one of the standard streams; an access log may name its format behind the path.

use std::path::PathBuf;

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
}

impl Kind for LogFile {
    const TYPE: &'static str = "log";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut words = text.split_whitespace();
        let target = match words.next().unwrap_or_default() {
            "off" => LogTarget::Off,
            "/dev/stdout" => LogTarget::Stdout,
            "stderr" | "/dev/stderr" => LogTarget::Stderr,
            target if target.starts_with("syslog:") => {
                let hint = "cannot be syslog: write to /dev/stderr and let the service manager collect it";
                return Err(Wrong::Because(format!("{hint}: '{text}'")));
            }
            path => LogTarget::File(PathBuf::from(path)),
        };
        Ok(Self { target, format: words.next().map(str::to_owned), text: text.to_owned() })
    }

    fn dump(&self) -> Value {
        Value::from(self.text.as_str())
    }
}
