//! An upstream on a thread: answers with the head it was sent and the fields that `X-Answer` fields of it hold, keeps what it
//! saw, and tunnels an upgrade back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(crate) struct Upstream {
    pub(crate) at: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(crate) fn start() -> Upstream {
        Upstream::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(crate) fn start_at(at: SocketAddr) -> Upstream {
        let listener = TcpListener::bind(at).unwrap();
        let (at, seen) = (listener.local_addr().unwrap(), Arc::default());
        let upstream = Upstream { at, seen: Arc::clone(&seen) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // The gateway ends a connection as it likes.
                std::thread::spawn(move || drop(serve(&stream, &seen)));
            }
        });
        upstream
    }

    /// The heads and bodies of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// A kong.yml with one service for this upstream and these routes, as YAML flow mappings.
    pub(crate) fn kong_yml(&self, routes: &[&str]) -> String {
        let routes: String = routes.iter().map(|route| format!("      - {route}\n")).collect();
        format!("_format_version: \"3.0\"\nservices:\n  - name: up\n    url: http://{}\n    routes:\n{routes}", self.at)
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        let mut length = 0;
        let mut is_upgrade = false;
        let mut fields = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            if lower.starts_with("x-answer:") {
                fields += line.get("x-answer:".len()..).unwrap_or_default().trim_start();
            }
            is_upgrade |= lower.starts_with("upgrade: websocket");
            head += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request = head + &String::from_utf8_lossy(&body);
        seen.lock().map_err(|_| std::io::Error::other("a test failed"))?.push(request.clone());
        let mut out = stream;
        if is_upgrade {
            out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
            std::io::copy(&mut reader, &mut out)?;
            return Ok(());
        }
        let length = request.len();
        out.write_all(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{request}").as_bytes())?;
    }
}
