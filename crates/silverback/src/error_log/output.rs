//! The file or stream behind a log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use proxy::{Syslog, SyslogTarget};
use rustix::fs::OFlags;

use super::Settings;
use crate::conf::LogTarget;

pub(super) struct Output {
    target: LogTarget,
    may_be_link: bool,
    file: Option<File>,
    syslog: Option<Syslog>,
}

impl Output {
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let Settings { target, may_be_link, .. } = settings;
        let file = match target {
            LogTarget::File(path) => Some(open_log(path, *may_be_link)?),
            LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr | LogTarget::Syslog(_) => None,
        };
        let syslog = match target {
            LogTarget::Syslog(text) => Some(open_syslog(text)?),
            _ => None,
        };
        Ok(Self { target: target.clone(), may_be_link: *may_be_link, file, syslog })
    }

    /// Opens the file anew; when that fails the open one goes on.
    pub(super) fn reopen(&mut self) {
        if let LogTarget::File(path) = &self.target
            && let Ok(file) = open_log(path, self.may_be_link)
        {
            self.file = Some(file);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match (&self.target, &mut self.file) {
            (LogTarget::Stdout, _) => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            (LogTarget::Stderr, _) => io::stderr().write_all(bytes),
            (LogTarget::Syslog(_), _) => match self.syslog.as_mut().map_or(0, |syslog| syslog.send(bytes, severity)) {
                0 => Ok(()),
                lost => Err(io::Error::other(format!("{lost} lines were not taken"))),
            },
            (_, Some(file)) => file.write_all(bytes),
            (_, None) => Ok(()),
        }
    }
}

fn open_syslog(text: &str) -> io::Result<Syslog> {
    let target = SyslogTarget::parse(text).map_err(io::Error::other)?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Syslog::open(&target, &hostname)
}

/// The level that a line of ours names, in either form.
fn severity(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let (opened, close) = if line.starts_with('{') { ("\"level\":\"", '"') } else { (" [", ']') };
    Some(line.split_once(opened)?.1.split_once(close)?.0)
}

/// Opens a log for appending.
pub(crate) fn open_log(path: &Path, may_be_link: bool) -> io::Result<File> {
    let flags = if may_be_link { OFlags::empty() } else { OFlags::NOFOLLOW };
    OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("could not open the log {}: {error}", path.display())))
}
