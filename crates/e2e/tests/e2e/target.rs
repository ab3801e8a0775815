//! An upstream target that can be killed, come back, fall silent, reset connections or take its time, all on one port.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 200 with the target's port as the body.
    Serves,
    Status(u16),
    /// Takes the request and says nothing.
    Silent,
    /// Takes the request and closes the connection.
    Resets,
    /// Begins an answer of ten bytes, and closes after three.
    BreaksOff,
    /// Serves after so many milliseconds.
    Slow(u64),
}

pub(crate) struct Target {
    pub(crate) at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    seen: AtomicUsize,
    /// Requests that are being answered now, and the most there were.
    busy: AtomicUsize,
    most_busy: AtomicUsize,
    /// Everything that is open: the listener's connections. `None` while it is dead.
    open: Mutex<Option<Vec<TcpStream>>>,
}

impl Target {
    pub(crate) fn start() -> Target {
        Target::at("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn at(address: SocketAddr) -> Target {
        let listener = TcpListener::bind(address).unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Serves),
            seen: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            most_busy: AtomicUsize::new(0),
            open: Mutex::new(Some(Vec::new())),
        });
        accept(listener, &shared);
        Target { at, shared }
    }

    pub(crate) fn mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> usize {
        self.shared.seen.load(Ordering::SeqCst)
    }

    pub(crate) fn most_busy(&self) -> usize {
        self.shared.most_busy.load(Ordering::SeqCst)
    }

    /// Its port refuses connections, and those that were open are closed.
    pub(crate) fn kill(&self) {
        let open = self.shared.open.lock().unwrap().take();
        for stream in open.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener's thread looks up when somebody comes.
        let _ = TcpStream::connect(self.at);
        while TcpStream::connect(self.at).is_ok() {}
    }

    pub(crate) fn revive(&self) {
        *self.shared.open.lock().unwrap() = Some(Vec::new());
        accept(TcpListener::bind(self.at).unwrap(), &self.shared);
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            match &mut *shared.open.lock().unwrap() {
                Some(open) => open.push(stream.try_clone().unwrap()),
                None => return,
            }
            let shared = Arc::clone(&shared);
            // The gateway ends a connection as it likes.
            std::thread::spawn(move || drop(serve(stream, &shared)));
        }
    });
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let port = stream.local_addr()?.port();
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        while !head.windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                count => head.extend_from_slice(&piece[..count]),
            }
        }
        head.clear();
        shared.seen.fetch_add(1, Ordering::SeqCst);
        let busy = shared.busy.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_busy.fetch_max(busy, Ordering::SeqCst);
        let mood = *shared.mood.lock().unwrap();
        let outcome = answer(&mut stream, mood, port);
        shared.busy.fetch_sub(1, Ordering::SeqCst);
        if !outcome? {
            return stream.shutdown(Shutdown::Both);
        }
    }
}

/// Whether the connection goes on.
fn answer(stream: &mut TcpStream, mood: Mood, port: u16) -> std::io::Result<bool> {
    let mut say = |status: u16, body: &str| {
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).map(|()| true)
    };
    match mood {
        Mood::Serves => say(200, &port.to_string()),
        Mood::Status(status) => say(status, "no"),
        Mood::Slow(millis) => {
            std::thread::sleep(Duration::from_millis(millis));
            say(200, &port.to_string())
        }
        Mood::Silent => {
            // Until the gateway has had enough.
            let _ = stream.read(&mut [0; 1])?;
            Ok(false)
        }
        Mood::Resets => Ok(false),
        Mood::BreaksOff => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?;
            Ok(false)
        }
    }
}
