//! Signals as events of a loop: each sets a flag and wakes the poll.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::{flag, low_level::pipe};

/// What a process of the node listens to.
pub(super) const HANDLED: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

pub(super) struct Signals {
    wake: UnixStream,
    flags: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Signals {
    /// From now on the signals arrive here, those that were held back during an upgrade included.
    pub(super) fn catch() -> io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut flags = Vec::new();
        for signal in HANDLED {
            let flag = Arc::new(AtomicBool::new(false));
            flag::register(signal as i32, Arc::clone(&flag))?;
            // After the flag: whoever is woken finds it set.
            pipe::register(signal as i32, write.try_clone()?)?;
            flags.push((signal, flag));
        }
        held_back().thread_unblock()?;
        Ok(Self { wake, flags })
    }

    /// The signals since the last call.
    pub(super) fn take(&self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        while (&self.wake).read(&mut bytes).is_ok_and(|read| read > 0) {}
        self.flags.iter().filter(|(_, flag)| flag.swap(false, Ordering::SeqCst)).map(|(signal, _)| *signal).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// The handled signals as a set: blocked while one program takes the place of another, so that none is lost and none kills.
pub(super) fn held_back() -> SigSet {
    HANDLED.into_iter().collect()
}
