//! `nginx_user`: whom the worker process runs as when root starts the node.

use std::io;
use std::os::unix::fs::lchown;

use nix::unistd::{Group, User as SystemUser};

use crate::conf::{Block, Conf, LogTarget};
use crate::error_log::Settings;

pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// `None` when the process stays what it is: not root, or no such user on this machine.
    pub(super) fn of(conf: &Conf) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut words = conf.directive(Block::Main, "user")?.split_whitespace();
        let user = SystemUser::from_name(words.next()?).ok()??;
        let gid = match words.next() {
            Some(group) => Group::from_name(group).ok()??.gid,
            None => user.gid,
        };
        Some(Self { uid: user.uid.as_raw(), gid: gid.as_raw() })
    }

    /// Hands the worker its directories and the log that the supervisor opened first. The prefix itself and `pids` stay root's,
    /// so that a captured worker cannot lead the supervisor's files elsewhere.
    pub(super) fn own_prefix(&self, conf: &Conf) -> io::Result<()> {
        for name in ["logs", "ssl", "data"] {
            lchown(conf.in_prefix(name), Some(self.uid), Some(self.gid))?;
        }
        match Settings::of(conf).target {
            LogTarget::File(path) if path.exists() => lchown(path, Some(self.uid), Some(self.gid)),
            _ => Ok(()),
        }
    }
}
