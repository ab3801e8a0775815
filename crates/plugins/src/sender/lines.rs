//! Lines over TCP, with TLS where it is asked for.

use crate::queue::{Entries, Failure, Sender, Sending};
use crate::unverified;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

/// No connection is kept longer: a time beyond what the clock can add is none.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// TLS to a collector. Its certificate is not verified, as in Kong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// The name to ask for; without one none is asked for.
    pub(crate) server_name: Option<String>,
}

/// Sends each entry as a line, over a connection that is kept.
pub(crate) struct Lines {
    host: String,
    port: u16,
    /// How long connecting and sending a batch may take.
    timeout: Duration,
    /// How long the connection is kept without messages.
    keepalive: Duration,
    tls: Option<(Tls, OnceLock<Arc<ClientConfig>>)>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    connection: Option<Connection>,
    /// Whether there is a task that closes it in time.
    is_watched: bool,
}

struct Connection {
    stream: Box<dyn Stream>,
    /// When it was last used.
    since: Instant,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Lines {
    pub(crate) fn new(host: &str, port: u16, timeout: Duration, keepalive: Duration, tls: Option<Tls>) -> Self {
        Self {
            host: host.to_owned(),
            port,
            timeout,
            keepalive: keepalive.min(LONGEST),
            tls: tls.map(|tls| (tls, OnceLock::new())),
            kept: Arc::default(),
        }
    }

    async fn deliver(&self, lines: &[u8]) -> io::Result<()> {
        let mut kept = self.kept.lock().await;
        let known = match kept.connection.take() {
            Some(mut known) => is_open(&mut *known.stream).await.then_some(known.stream),
            None => None,
        };
        let mut stream = match known {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(lines).await?;
        stream.flush().await?;
        kept.connection = Some(Connection { stream, since: Instant::now() });
        if !std::mem::replace(&mut kept.is_watched, true) {
            tokio::spawn(close_when_idle(Arc::downgrade(&self.kept), self.keepalive));
        }
        Ok(())
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some((tls, made)) = &self.tls else { return Ok(Box::new(stream)) };
        let config = match made.get() {
            Some(config) => config.clone(),
            None => {
                let mut config = unverified::client().map_err(io::Error::other)?;
                config.enable_sni = tls.server_name.is_some();
                made.get_or_init(|| Arc::new(config)).clone()
            }
        };
        let name = tls.server_name.as_ref().unwrap_or(&self.host).clone();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
    }
}

impl Sender for Lines {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        Box::pin(async {
            let lines = batch.joined(b"", b"\n", b"\n");
            let outcome = timeout(self.timeout, self.deliver(&lines)).await.unwrap_or_else(|late| Err(late.into()));
            outcome.map_err(|error| Failure::new(error.to_string()))
        })
    }
}

/// Whether the collector has not closed the connection: what is written to one that is closed is lost without a word. What
/// the collector says is passed over.
async fn is_open(stream: &mut dyn Stream) -> bool {
    let mut room = [0; 512];
    poll_fn(|cx| {
        let mut read = ReadBuf::new(&mut room);
        Poll::Ready(match Pin::new(&mut *stream).poll_read(cx, &mut read) {
            Poll::Pending => true,
            Poll::Ready(outcome) => outcome.is_ok() && !read.filled().is_empty(),
        })
    })
    .await
}

async fn close_when_idle(kept: Weak<Mutex<Kept>>, keepalive: Duration) {
    let mut end = Instant::now() + keepalive;
    loop {
        sleep_until(end).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut kept = kept.lock().await;
        match &kept.connection {
            Some(connection) if connection.since + keepalive > Instant::now() => end = connection.since + keepalive,
            _ => {
                *kept = Kept::default();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_open_until_its_end_is_there_whatever_is_said_on_it() {
        let (mut here, mut there) = tokio::io::duplex(2048);
        assert!(is_open(&mut here).await, "nothing is said");
        there.write_all(&[b'x'; 600]).await.unwrap();
        assert!(is_open(&mut here).await && is_open(&mut here).await, "what is said is passed over");
        drop(there);
        assert!(!is_open(&mut here).await);
    }
}
