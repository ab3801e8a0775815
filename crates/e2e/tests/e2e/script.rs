//! An upstream that does what it is told, byte by byte: the path of a request names what.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is done once a request's head has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Reads the body to its end, as the head frames it.
    Body,
    Send(&'static str),
    /// Sends it many times over.
    Pour(&'static str, usize),
    /// Reads to the end of what is sent, as the body, and goes on.
    ToEnd,
    /// Ends the sending side, and reads on to the end, as the body.
    Finish,
    Close,
    /// Reads nothing and says nothing until the script is dropped.
    Stall,
    /// Reads to the end of the connection.
    Await,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
    /// The body came to its end.
    pub(crate) is_whole: bool,
    /// Which connection it came over.
    pub(crate) connection: usize,
}

pub(crate) struct Script {
    pub(crate) at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    scripts: Vec<(String, &'static [Act])>,
    seen: Mutex<Vec<Seen>>,
    /// Paths whose connection the gateway ended while something was sent or awaited.
    ended: Mutex<Vec<String>>,
}

impl Script {
    /// With the acts of paths; every other path is answered with "fresh".
    pub(crate) fn start(scripts: Vec<(String, &'static [Act])>) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { scripts, seen: Mutex::default(), ended: Mutex::default() });
        let script = Script { at, shared: shared.clone() };
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let shared = shared.clone();
                // The gateway ends a connection as it likes.
                std::thread::spawn(move || drop(serve(&stream, connection, &shared)));
            }
        });
        script
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    pub(crate) fn has_ended(&self, path: &str) -> bool {
        self.shared.ended.lock().unwrap().iter().any(|ended| ended == path)
    }
}

/// The head of the next request; `None` where there is no whole one any more.
pub(crate) fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn serve(stream: &TcpStream, connection: usize, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(head) = read_head(&mut reader)? else { return Ok(()) };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let at = {
            let mut seen = shared.seen.lock().unwrap();
            let (body, is_whole) = (String::new(), !is_framed(&head));
            seen.push(Seen { path: path.clone(), head: head.clone(), body, is_whole, connection });
            seen.len() - 1
        };
        let came = |body: &[u8], is_whole| {
            let mut seen = shared.seen.lock().unwrap();
            seen[at].body = String::from_utf8_lossy(body).into_owned();
            seen[at].is_whole = is_whole;
        };
        let fresh: &[Act] = &[Act::Body, Act::Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh")];
        let acts = shared.scripts.iter().find(|(known, _)| *known == path).map_or(fresh, |(_, acts)| acts);
        for act in acts {
            let done = match act {
                Act::Body => {
                    let mut body = Vec::new();
                    let read = read_body(&mut reader, &head, &mut body);
                    came(&body, read.is_ok());
                    read
                }
                Act::Send(text) => (&*stream).write_all(text.as_bytes()),
                Act::Pour(text, times) => (0..*times).try_for_each(|_| (&*stream).write_all(text.as_bytes())),
                Act::ToEnd | Act::Finish => {
                    let mut body = Vec::new();
                    let finished = if matches!(act, Act::Finish) { stream.shutdown(Shutdown::Write) } else { Ok(()) };
                    let read = finished.and_then(|()| reader.read_to_end(&mut body)).map(drop);
                    came(&body, read.is_ok());
                    read
                }
                Act::Close => return stream.shutdown(Shutdown::Both),
                Act::Stall => loop {
                    std::thread::park();
                },
                Act::Await => to_end(&mut reader),
            };
            if done.is_err() || matches!(act, Act::Await | Act::Finish) {
                shared.ended.lock().unwrap().push(path);
                return done;
            }
        }
    }
}

fn to_end(reader: &mut impl Read) -> std::io::Result<()> {
    std::io::copy(reader, &mut std::io::sink()).map(drop)
}

fn is_framed(head: &str) -> bool {
    let head = head.to_ascii_lowercase();
    head.contains("\r\ncontent-length:") || head.contains("\r\ntransfer-encoding:")
}

fn read_body(reader: &mut impl BufRead, head: &str, body: &mut Vec<u8>) -> std::io::Result<()> {
    let head = head.to_ascii_lowercase();
    if let Some((_, rest)) = head.split_once("\r\ncontent-length:") {
        let length = rest.lines().next().unwrap_or_default().trim().parse().map_err(std::io::Error::other)?;
        reader.take(length).read_to_end(body)?;
        let is_whole = body.len() as u64 == length;
        return if is_whole { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
    }
    if !head.contains("\r\ntransfer-encoding:") {
        return Ok(());
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        if size == 0 {
            break;
        }
        reader.by_ref().take(size).read_to_end(body)?;
        reader.read_line(&mut line)?;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            return Ok(());
        }
        // Trailers count as what came.
        body.extend_from_slice(line.trim_end().as_bytes());
    }
}
