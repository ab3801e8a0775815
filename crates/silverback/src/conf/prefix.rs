//! The prefix: the node's working directory, what is in it, and where it is when nobody says.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::properties::Conf;

/// Where the node lives when it may.
const SYSTEM_PREFIX: &str = "/usr/local/silverback";

/// The directories of a prefix, with their modes.
const DIRECTORIES: [(&str, u32); 5] = [("", 0o755), ("pids", 0o755), ("logs", 0o755), ("ssl", 0o700), ("data", 0o700)];

/// The system's prefix for those who can write it, a directory of the user's own for everybody else. It depends on the user
/// alone, so that `stop` looks where `start` was.
pub(super) fn default_prefix(environment: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let system = PathBuf::from(SYSTEM_PREFIX);
    let nearest = system.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK).is_ok() {
        return system;
    }
    let state = environment("XDG_STATE_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let home = || environment("HOME").map(|home| Path::new(&home).join(".local/state"));
    state.or_else(home).map_or(system, |state| state.join("silverback"))
}

impl Conf {
    /// Makes the directories of the prefix where they are missing.
    ///
    /// # Errors
    /// Names the directory that cannot be made.
    pub fn prepare_prefix(&self) -> io::Result<()> {
        for (name, mode) in DIRECTORIES {
            let path = if name.is_empty() { self.prefix.clone() } else { self.in_prefix(name) };
            fs::DirBuilder::new().recursive(true).mode(mode).create(&path).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("could not create the prefix directory {}: {error}", path.display()),
                )
            })?;
        }
        Ok(())
    }

    /// The file of `database = embedded`.
    #[must_use]
    pub fn embedded_database(&self) -> PathBuf {
        self.in_prefix("data/silverback.db")
    }

    /// The node's id: `node_id`, or the one kept in `kong.id` of the prefix, made on first use.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn node_id(&self) -> io::Result<Uuid> {
        if let Some(id) = self.node_id.as_deref().and_then(|id| Uuid::parse_str(id).ok()) {
            return Ok(id);
        }
        let path = self.in_prefix("kong.id");
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Ok(id) = Uuid::parse_str(text.trim()) {
                    return Ok(id);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let id = Uuid::new_v4();
        write_file(&path, id.to_string().as_bytes(), 0o644)?;
        Ok(id)
    }
}

/// Writes a whole file at once: no reader sees half of it, also after a crash.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    io::Write::write_all(&mut file, content)?;
    fs::rename(&new, path)
}
