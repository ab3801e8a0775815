//! `nginx_user`: whom the worker process runs as when root starts the node.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;

use serde::{Deserialize, Serialize};

use crate::conf::{Block, Conf, LogTarget};
use crate::error_log::{Settings, open_log};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
        // The files, not the name service: that would load its modules into a process that has no other use for them.
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::find(conf.directive(Block::Main, "user")?, &users, &groups)
    }

    fn find(user: &str, users: &str, groups: &str) -> Option<Self> {
        let mut words = user.split_whitespace();
        let user = entry(users, words.next()?)?;
        let gid = match words.next() {
            Some(group) => entry(groups, group)?.get(2)?.parse().ok()?,
            None => user.get(3)?.parse().ok()?,
        };
        Some(Self { uid: user.get(2)?.parse().ok()?, gid })
    }

    /// Hands the worker its directories and its log. The prefix itself and `pids` stay root's, so that a captured worker cannot
    /// lead the supervisor's files elsewhere.
    pub(super) fn own_prefix(self, conf: &Conf) -> io::Result<()> {
        for name in ["logs", "ssl", "data"] {
            lchown(conf.in_prefix(name), Some(self.uid), Some(self.gid))?;
        }
        if let LogTarget::File(path) = Settings::of(conf).target {
            open_log(&path, false)?;
            lchown(path, Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }
}

/// The fields of a name in passwd or group.
fn entry<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    file.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn users_and_groups_are_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nkong:x:100:1000:Kong:/usr/local/kong:/bin/sh\n";
        let groups = "root:x:0:\nkong:x:1001:\n";
        let user = |uid, gid| Some(User { uid, gid });
        let cases = [
            ("kong", user(100, 1000)),
            ("kong kong", user(100, 1001)),
            ("root kong", user(0, 1001)),
            ("nobody", None),
            ("kong staff", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(User::find(text, users, groups), expected, "{text}");
        }
    }
}
