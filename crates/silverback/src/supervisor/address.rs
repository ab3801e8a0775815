//! Where a node listens: an IP address with a port, or a socket in the file system.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Written as a string either way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Address {
    Ip(SocketAddr),
    /// Absolute.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether a socket may be made at the path. One that nobody listens to, left by a node that was killed, is in nobody's way.
pub(super) fn try_path(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::metadata(folder).map_err(|error| io::Error::new(error.kind(), format!("its folder: {error}")))?;
            Ok(())
        }
        Err(error) => Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => Ok(()),
    }
}

/// Removes a socket that nobody listens to.
pub(super) fn remove_stale(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        let _ = fs::remove_file(path);
    }
}

/// Who may connect: as with ports, everybody on the machine who reaches the folder; with the Admin API, user and group.
pub(super) fn permit(path: &Path, everybody: bool) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(if everybody { 0o666 } else { 0o660 }))
}
