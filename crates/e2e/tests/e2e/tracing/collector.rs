//! A collector of OTLP on a thread, over HTTP/1.1 or gRPC, plain or by TLS: it takes what the protocol has, and reads the
//! messages field by field.

use crate::pki::Identity;
use bytes::Bytes;
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// A call, as it came.
#[derive(Clone, Debug, Default)]
struct Call {
    path: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A span, a log record or a metric, and what it came with.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) resource: BTreeMap<String, String>,
    /// Name and version.
    pub(super) scope: (String, String),
    pub(super) fields: Message,
}

pub(super) struct Collector {
    pub(super) at: SocketAddr,
    protocol: Protocol,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<Mutex<usize>>,
}

impl Collector {
    pub(super) fn start(protocol: Protocol, identity: Option<&Identity>) -> Collector {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let (calls, connections) = (Arc::default(), Arc::default());
        let collector = Collector { at, protocol, calls: Arc::clone(&calls), connections: Arc::clone(&connections) };
        let tls = identity.map(|identity| {
            let config = ServerConfig::builder().with_no_client_auth();
            let mut config = config.with_single_cert(identity.chain.clone(), identity.key_der()).unwrap();
            config.alpn_protocols = match protocol {
                Protocol::Http => vec![b"http/1.1".to_vec()],
                Protocol::Grpc => vec![b"h2".to_vec()],
            };
            TlsAcceptor::from(Arc::new(config))
        });
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    *connections.lock().unwrap() += 1;
                    tokio::spawn(accept(stream, tls.clone(), protocol, Arc::clone(&calls)));
                }
            });
        });
        collector
    }

    /// How often it was connected to.
    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// How often it was called.
    pub(super) fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// All that has come of `traces`, `logs` or `metrics`. Fails where a call is not what the protocol has.
    pub(super) fn items(&self, what: &str) -> Vec<Item> {
        let (http, service) = match what {
            "traces" => ("/v1/traces", "trace.v1.TraceService"),
            "logs" => ("/v1/logs", "logs.v1.LogsService"),
            _ => ("/v1/metrics", "metrics.v1.MetricsService"),
        };
        let grpc = format!("/opentelemetry.proto.collector.{service}/Export");
        let path = if self.protocol == Protocol::Http { http } else { grpc.as_str() };
        let calls = self.calls.lock().unwrap().clone();
        let mut items = Vec::new();
        for call in calls.iter().filter(|call| call.path == path) {
            let kind = call.fields.get("content-type").map(String::as_str);
            let bytes = match self.protocol {
                Protocol::Http => {
                    assert_eq!(kind, Some("application/x-protobuf"), "{call:?}");
                    &*call.body
                }
                Protocol::Grpc => {
                    assert_eq!(kind, Some("application/grpc"), "{call:?}");
                    assert_eq!(call.fields.get("te").map(String::as_str), Some("trailers"), "{call:?}");
                    // One message: not compressed, and its length.
                    let (head, message) = call.body.split_at(5);
                    assert_eq!(head[0], 0);
                    assert_eq!(u32::from_be_bytes(head[1..].try_into().unwrap()) as usize, message.len());
                    message
                }
            };
            items.extend(exported(bytes));
        }
        items
    }
}

async fn accept(stream: TcpStream, tls: Option<TlsAcceptor>, protocol: Protocol, calls: Arc<Mutex<Vec<Call>>>) {
    let Some(tls) = tls else { return serve(stream, protocol, &calls).await };
    // Who does not trust the certificate ends the handshake.
    if let Ok(stream) = tls.accept(stream).await {
        serve(stream, protocol, &calls).await;
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, protocol: Protocol, calls: &Arc<Mutex<Vec<Call>>>) {
    match protocol {
        Protocol::Http => drop(http(stream, calls).await),
        Protocol::Grpc => grpc(stream, calls).await,
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, calls: &Mutex<Vec<Call>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut call = Call::default();
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        call.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            call.fields.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = call.fields.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        call.body.resize(length, 0);
        stream.read_exact(&mut call.body).await?;
        calls.lock().map_err(|_| std::io::Error::other("a test failed"))?.push(call);
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        stream.get_mut().flush().await?;
    }
}

async fn grpc(stream: impl AsyncRead + AsyncWrite + Unpin, calls: &Arc<Mutex<Vec<Call>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let calls = Arc::clone(calls);
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
            let fields = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            let mut call = Call { path: head.uri.path().to_owned(), fields, body: Vec::new() };
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                call.body.extend_from_slice(&data);
            }
            calls.lock().unwrap().push(call);
            let answer = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut out = respond.send_response(answer, false).unwrap();
            out.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
            let trailers = [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))];
            out.send_trailers(trailers.into_iter().collect()).unwrap();
        });
    }
}

/// A field's value as protobuf sends it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// A message of protobuf: the numbers of its fields, and their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<(u64, Value)>);

impl Message {
    pub(super) fn read(mut bytes: &[u8]) -> Message {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut bytes)),
                1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Value::Bytes(take(&mut bytes, length).to_vec())
                }
                5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()).into()),
                kind => panic!("no such kind of field: {kind}"),
            };
            fields.push((tag >> 3, value));
        }
        Message(fields)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| *known == number).map(move |(_, value)| match value {
            Value::Bytes(bytes) => &**bytes,
            Value::Number(_) => panic!("{number} is a number in {self:?}"),
        })
    }

    pub(super) fn messages(&self, number: u64) -> Vec<Message> {
        self.all(number).map(Message::read).collect()
    }

    pub(super) fn bytes(&self, number: u64) -> &[u8] {
        self.all(number).last().unwrap_or_default()
    }

    pub(super) fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number).to_vec()).unwrap()
    }

    pub(super) fn number(&self, number: u64) -> u64 {
        let mut found = self.0.iter().filter(|(known, _)| *known == number);
        match found.next_back() {
            Some((_, Value::Number(value))) => *value,
            Some(other) => panic!("{other:?} is no number"),
            None => 0,
        }
    }

    /// Attributes by their names: texts, and numbers as texts.
    pub(super) fn attributes(&self, number: u64) -> BTreeMap<String, String> {
        let value = |value: &Message| match value.0.first() {
            Some((1, _)) => value.text(1),
            Some((3, Value::Number(number))) => number.to_string(),
            other => panic!("an attribute is {other:?}"),
        };
        let pair = |pair: Message| (pair.text(1), value(&pair.messages(2)[0]));
        self.messages(number).into_iter().map(pair).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number that does not end");
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(count).expect("the message is cut off");
    *bytes = rest;
    taken
}

/// The items of an `Export*ServiceRequest`: they are all of one form.
fn exported(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    for of_resource in Message::read(bytes).messages(1) {
        let resource = of_resource.messages(1).first().map(|resource| resource.attributes(1)).unwrap_or_default();
        for of_scope in of_resource.messages(2) {
            let scope = of_scope.messages(1).first().map(|scope| (scope.text(1), scope.text(2))).unwrap_or_default();
            let item = |fields| Item { resource: resource.clone(), scope: scope.clone(), fields };
            items.extend(of_scope.messages(2).into_iter().map(item));
        }
    }
    items
}
