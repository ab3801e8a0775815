//! A body too long for memory, in a file without a name: it goes with its last reader.

use bytes::{Bytes, BytesMut};
use pdk::{BodyError, BodyStream, Frame};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// A whole body on disk, to be read as often as there are tries. Writing and reading do not wait for the disk: the pages are
/// in memory until the system needs it, as with nginx's temporary files.
pub(crate) struct Spool {
    file: Rc<File>,
    length: u64,
}

impl Spool {
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let path = folder.join(format!("{:032x}", fastrand::u128(..)));
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        fs::remove_file(&path)?;
        Ok(Self { file: Rc::new(file), length: 0 })
    }

    pub(super) fn push(&mut self, data: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(data)?;
        self.length += data.len() as u64;
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn reader(&self) -> Reader {
        Reader { file: self.file.clone(), at: 0, end: self.length }
    }
}

/// The body once more, from its start.
pub(crate) struct Reader {
    file: Rc<File>,
    at: u64,
    end: u64,
}

impl Reader {
    fn read(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::zeroed(PIECE.min(usize::try_from(self.end - self.at).unwrap_or(PIECE)));
        self.file.read_exact_at(&mut piece, self.at)?;
        self.at += piece.len() as u64;
        Ok(piece.freeze())
    }
}

impl BodyStream for Reader {
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.read().map(Frame::Data).map_err(|error| {
            log::error!("a request's body cannot be read back from its temporary file: {error}");
            BodyError::Closed
        })))
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.end - self.at)
    }
}
