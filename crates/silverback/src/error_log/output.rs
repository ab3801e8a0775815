//! The file or stream behind a log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::Settings;
use crate::conf::LogTarget;

pub(super) struct Output {
    target: LogTarget,
    may_be_link: bool,
    file: Option<File>,
}

impl Output {
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let Settings { target, may_be_link, .. } = settings;
        let file = match target {
            LogTarget::File(path) => Some(open_log(path, *may_be_link)?),
            LogTarget::Off | LogTarget::Stdout | LogTarget::Stderr => None,
        };
        Ok(Self { target: target.clone(), may_be_link: *may_be_link, file })
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
            (_, Some(file)) => file.write_all(bytes),
            (_, None) => Ok(()),
        }
    }
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
