//! A name server that knows no name: some cases were recorded beside one.

use anyhow::{Context, Result};
use std::net::{SocketAddr, UdpSocket};

const HEADER: usize = 12;
const NO_SUCH_NAME: u8 = 3;

pub(super) struct Resolver {
    pub(super) address: SocketAddr,
}

impl Resolver {
    /// Answers on a thread of its own until the program ends.
    pub(super) fn start() -> Result<Resolver> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("cannot listen for name look-ups")?;
        let address = socket.local_addr()?;
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Some(answer) = buffer.get(..length).and_then(refuse) else { continue };
                // The asker may be gone; the next one may not be.
                let _ = socket.send_to(&answer, from);
            }
        });
        Ok(Resolver { address })
    }
}

/// The answer "no such name" (RFC 1035, section 4.1) to a query of one question.
pub(super) fn refuse(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = HEADER;
    loop {
        let label = usize::from(*query.get(end)?);
        end += label + 1;
        if label == 0 {
            break;
        }
    }
    // The question ends with its type and class; what follows (EDNS) is not repeated.
    let mut answer = query.get(..end + 4)?.to_vec();
    let flags: &mut [u8; HEADER] = answer.first_chunk_mut()?;
    flags[2] |= 0x80;
    flags[3] = 0x80 | NO_SUCH_NAME;
    flags[6..].fill(0);
    Some(answer)
}
