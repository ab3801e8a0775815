//! OTLP over gRPC: one unary call a batch, over an HTTP/2 connection that is kept.

use crate::queue::Failure;
use crate::trust;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Request, Uri, Version};
use rustls::pki_types::ServerName;
use schema::validators::url::Url;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A longer answer costs its connection.
const ANSWER_BYTES: usize = 64 * 1024;

/// A method of a collector.
pub(super) struct Grpc {
    host: String,
    port: u16,
    is_tls: bool,
    uri: Uri,
    headers: HeaderMap,
    connect_timeout: Duration,
    /// Of a call.
    timeout: Duration,
    kept: Mutex<Option<Connection>>,
}

/// An HTTP/2 connection, which ends with the value.
struct Connection {
    requests: SendRequest<Bytes>,
    /// It reads and writes; by itself it would go on until all is written, which a peer that hangs never lets it.
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn failed(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{what}: {error}"))
}

impl Grpc {
    /// `what` is `traces`, `logs` or `metrics`. An error says nothing of the URL, which may hold a password.
    pub(super) fn new<'a>(
        url: &str,
        what: &str,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self, String> {
        let url = Url::parse(url).ok_or("empty")?;
        let (scheme, default_port) = match url.scheme {
            Some("https" | "grpcs") => ("https", 443),
            Some("http" | "grpc") => ("http", 80),
            other => return Err(format!("scheme '{}' is neither http nor https", other.unwrap_or_default())),
        };
        let host = url.host.ok_or("missing host in url")?.to_owned();
        let port = url.port.map_or(Ok(default_port), str::parse).map_err(|_| "no valid port")?;
        let service = match what {
            "logs" => "logs.v1.LogsService",
            "metrics" => "metrics.v1.MetricsService",
            _ => "trace.v1.TraceService",
        };
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let uri = format!("{scheme}://{name}:{port}/opentelemetry.proto.collector.{service}/Export");
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().map_err(|_| format!("'{name}' is no name of a header field"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| format!("the value of {name} is no field's"))?;
            // Such fields hold tokens often enough.
            value.set_sensitive(true);
            fields.insert(name, value);
        }
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        fields.insert(TE, HeaderValue::from_static("trailers"));
        let uri = uri.parse().map_err(|_| "not a valid URL")?;
        let is_tls = scheme == "https";
        Ok(Self { host, port, is_tls, uri, headers: fields, connect_timeout, timeout, kept: Mutex::default() })
    }

    /// The server's name and port.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Calls with a message. Any status but OK is a failure.
    pub(super) async fn call(&self, message: Bytes) -> Result<(), Failure> {
        if let Ok(called) = timeout(self.timeout, self.exchange(message)).await {
            return called;
        }
        // A connection that nothing comes back on may be dead without anybody saying so: the next call gets another one.
        *self.kept.lock().await = None;
        Err(Failure::new("timeout".to_owned()))
    }

    async fn exchange(&self, message: Bytes) -> Result<(), Failure> {
        let mut connection = self.connection().await?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        let sent = connection.send_request(request, false);
        let (answer, mut body) = sent.map_err(|error| failed("sending", error))?;
        // Not compressed, and its length.
        let mut framed = BytesMut::with_capacity(5 + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).map_err(|error| failed("sending", error))?);
        framed.extend_from_slice(&message);
        body.send_data(framed.freeze(), true).map_err(|error| failed("sending", error))?;
        let (head, mut answer) = answer.await.map_err(|error| failed("answer", error))?.into_parts();
        if head.status != 200 {
            return Err(Failure::new(format!("the answer is {}", head.status)));
        }
        let mut read = 0;
        while let Some(data) = answer.data().await {
            let length = data.map_err(|error| failed("answer", error))?.len();
            read += length;
            if read > ANSWER_BYTES {
                return Err(Failure::new("the answer is too long".to_owned()));
            }
            let _ = answer.flow_control().release_capacity(length);
        }
        let trailers = answer.trailers().await.map_err(|error| failed("answer", error))?;
        // An answer without a message has its status in the head.
        status(trailers.as_ref().unwrap_or(&head.headers))
    }

    /// The kept connection, or a new one.
    async fn connection(&self) -> Result<SendRequest<Bytes>, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some(connection) = kept.take()
            && let Ok(ready) = connection.requests.clone().ready().await
        {
            *kept = Some(connection);
            return Ok(ready);
        }
        let connected = timeout(self.connect_timeout, self.connect()).await;
        let connection = connected.unwrap_or_else(|_| Err(Failure::new("connecting: timeout".to_owned())))?;
        let requests = connection.requests.clone();
        *kept = Some(connection);
        requests.ready().await.map_err(|error| failed("connecting", error))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| failed("connecting", error))?;
        stream.set_nodelay(true).map_err(|error| failed("connecting", error))?;
        if !self.is_tls {
            return handshake(stream).await;
        }
        let mut config = trust::client().map_err(|error| failed("TLS", error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(self.host.clone()).map_err(|error| failed("TLS", error))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        handshake(stream.map_err(|error| failed("TLS", error))?).await
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = h2::client::handshake(stream).await.map_err(|error| failed("HTTP/2", error))?;
    Ok(Connection { requests, task: tokio::spawn(connection).abort_handle() })
}

fn status(trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        "" => Err(Failure::new("the answer has no grpc-status".to_owned())),
        code => {
            let message: String = text("grpc-message").chars().filter(|c| !c.is_control()).take(200).collect();
            let reason = format!("the answer is grpc-status {code}: {message}");
            // INVALID_ARGUMENT: the batch itself is wrong.
            Err(if code == "3" { Failure::refusal(reason) } else { Failure::new(reason) })
        }
    }
}
