//! An upstream that speaks HTTP/2 with prior knowledge and takes so many streams at once; the path of a request says what
//! becomes of it.

use bytes::Bytes;
use http::{HeaderMap, Response};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How connections begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    AtOnce,
    /// Not before `release`.
    Held,
    /// The first connection ends at its first request, untouched (GOAWAY).
    GoAway,
}

pub(crate) struct Peer {
    pub(crate) at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    greeting: Greeting,
    streams: u32,
    released: watch::Sender<bool>,
    connections: Mutex<usize>,
    seen: Mutex<Vec<String>>,
    /// Paths of requests that the gateway gave up.
    given_up: Mutex<Vec<String>>,
}

impl Peer {
    pub(crate) fn start(streams: u32, greeting: Greeting) -> Peer {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            greeting,
            streams,
            released: watch::Sender::new(false),
            connections: Mutex::default(),
            seen: Mutex::default(),
            given_up: Mutex::default(),
        });
        let peer = Peer { at, shared: shared.clone() };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, shared.clone()));
                }
            });
        });
        peer
    }

    /// Answers what is held.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// How often a path was asked for.
    pub(crate) fn seen(&self, path: &str) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }

    pub(crate) fn was_given_up(&self, path: &str) -> bool {
        self.shared.given_up.lock().unwrap().iter().any(|known| known == path)
    }
}

impl Shared {
    async fn released(&self) {
        let _ = self.released.subscribe().wait_for(|is_released| *is_released).await;
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let number = {
        let mut connections = shared.connections.lock().unwrap();
        *connections += 1;
        *connections
    };
    match shared.greeting {
        Greeting::Held => shared.released().await,
        Greeting::GoAway if number == 1 => return drop(go_away(stream).await),
        Greeting::GoAway | Greeting::AtOnce => {}
    }
    let handshake = h2::server::Builder::new().max_concurrent_streams(shared.streams).handshake(stream).await;
    let Ok(mut connection) = handshake else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, shared.clone()));
    }
}

/// Takes a request and says that it looked at none (RFC 9113, 6.8).
async fn go_away(mut stream: TcpStream) -> std::io::Result<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    stream.write_all(&SETTINGS).await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        if kind == HEADERS {
            stream.write_all(&GO_AWAY).await?;
            return tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop);
        }
    }
}

/// `/hold` is answered once `release` says so, `/begun` too, but with its head before; `/refused` is refused the first time,
/// after its body has come, `/refused-always` every time; of `/deaf` no body is read. The others get their body back.
async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().to_owned();
    shared.seen.lock().ok()?.push(path.clone());
    let response = || Response::builder().header("content-type", "application/grpc").body(()).ok();
    match path.as_str() {
        "/hold" => {
            let given_up = poll_fn(|task| respond.poll_reset(task).map(drop));
            tokio::select! {
                () = given_up => return shared.given_up.lock().ok().map(|mut paths| paths.push(path)),
                () = shared.released() => {}
            }
        }
        "/begun" => {
            let mut out = respond.send_response(response()?, false).ok()?;
            out.send_data(Bytes::from_static(b"first"), false).ok()?;
            poll_fn(|task| out.poll_reset(task).map(drop)).await;
            return shared.given_up.lock().ok().map(|mut paths| paths.push(path));
        }
        "/deaf" => return poll_fn(|task| respond.poll_reset(task).map(|_| None)).await,
        _ => {}
    }
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        whole.extend_from_slice(&data);
    }
    let mut trailers: HeaderMap = body.trailers().await.ok()?.unwrap_or_default();
    if path == "/refused-always" {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        return None;
    }
    if path == "/refused" && shared.seen.lock().ok()?.iter().filter(|seen| **seen == path).count() == 1 {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
        return None;
    }
    trailers.insert("grpc-status", "0".parse().ok()?);
    let mut out = respond.send_response(response()?, false).ok()?;
    out.send_data(whole.into(), false).ok()?;
    out.send_trailers(trailers).ok()
}
