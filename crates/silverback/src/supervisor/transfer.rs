//! A description and open files, sent through a Unix socket. The description travels in a file of memory, so that sending
//! never waits for the receiver, who may not even run yet.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The kernel takes at most 253 in a message.
const FILES_A_MESSAGE: usize = 128;
/// More than any node has: listeners times threads.
const MOST_FILES: usize = 16_384;

pub(super) fn send(stream: &UnixStream, description: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut memory = File::from(memfd_create("silverback-handover", MemfdFlags::CLOEXEC)?);
    serde_json::to_writer(&mut memory, &(files.len(), description))?;
    memory.rewind()?;
    memory.flush()?;
    send_files(stream, &[memory.as_fd()])?;
    files.chunks(FILES_A_MESSAGE).try_for_each(|chunk| send_files(stream, chunk))
}

pub(super) fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the handover is incomplete");
    let memory = receive_files(stream)?.pop().ok_or_else(broken)?;
    let mut text = Vec::new();
    File::from(memory).read_to_end(&mut text)?;
    let (expected, description): (usize, T) = serde_json::from_slice(&text)?;
    let mut files = Vec::new();
    while files.len() < expected.min(MOST_FILES) {
        let more = receive_files(stream)?;
        if more.is_empty() {
            return Err(broken());
        }
        files.extend(more);
    }
    Ok((description, files))
}

fn send_files(stream: &UnixStream, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_A_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files in one message"));
    }
    // One byte a message: a receiver that asks for one byte gets exactly the files of that message.
    retry_on_intr(|| sendmsg(stream, &[IoSlice::new(b"f")], &mut control, SendFlags::empty()))?;
    Ok(())
}

fn receive_files(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_A_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    // A socket with a timeout is interrupted by every signal.
    retry_on_intr(|| recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    Ok(files)
}
