//! A gRPC service and its client by `tonic`, which is not what the gateway speaks HTTP/2 with on its own account: notes are
//! sent back in every kind of call.

use crate::pki;
use prost::Message;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

/// The longest message that both sides take.
const LONGEST: usize = 8 * 1024 * 1024;

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Note {
    #[prost(string, tag = "1")]
    pub(super) text: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

pub(super) fn note(text: impl Into<String>) -> Note {
    Note { text: text.into(), data: Vec::new() }
}

/// What a code generator would have written.
#[derive(Clone, Copy)]
struct Notes;

impl Codec for Notes {
    type Encode = Note;
    type Decode = Note;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Notes {
    type Item = Note;
    type Error = Status;

    fn encode(&mut self, note: Note, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        note.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Notes {
    type Item = Note;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Note>, Status> {
        Note::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A server on a thread of its own.
pub(super) struct Book {
    pub(super) at: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Calls of `Hang` that have begun, and those of them that were given up.
    begun: AtomicUsize,
    given_up: AtomicUsize,
    /// The deadlines that came.
    deadlines: Mutex<Vec<String>>,
}

/// Counts when a call's future is dropped.
struct Given(Arc<State>);

impl Drop for Given {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::SeqCst);
    }
}

impl Book {
    /// With TLS as `identity`, or without.
    pub(super) fn open(identity: Option<&pki::Identity>) -> Book {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (at, state) = (listener.local_addr().unwrap(), Arc::new(State::default()));
        let book = Book { at, state: state.clone() };
        let mut server = Server::builder();
        if let Some(identity) = identity {
            let identity = Identity::from_pem(identity.pem(), identity.key_pem());
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
                let service = service_fn(move |request| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(serve(request, state).await) }
                });
                server.serve_with_incoming(service, incoming).await.unwrap();
            });
        });
        book
    }

    pub(super) fn begun(&self) -> usize {
        self.state.begun.load(Ordering::SeqCst)
    }

    pub(super) fn given_up(&self) -> usize {
        self.state.given_up.load(Ordering::SeqCst)
    }

    pub(super) fn deadlines(&self) -> Vec<String> {
        self.state.deadlines.lock().unwrap().clone()
    }
}

async fn serve(request: http::Request<tonic::body::Body>, state: Arc<State>) -> http::Response<tonic::body::Body> {
    let mut grpc = tonic::server::Grpc::new(Notes).max_decoding_message_size(LONGEST);
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/notes.Notes/Echo" => grpc.unary(service_fn(echo), request).await,
        "/notes.Notes/Refuse" => grpc.unary(service_fn(refuse), request).await,
        "/notes.Notes/Hang" => grpc.unary(service_fn(move |request| hang(request, state.clone())), request).await,
        "/notes.Notes/Join" => grpc.client_streaming(service_fn(join), request).await,
        "/notes.Notes/Repeat" => grpc.server_streaming(service_fn(repeat), request).await,
        "/notes.Notes/Talk" => grpc.streaming(service_fn(talk), request).await,
        _ => Status::unimplemented(path).into_http(),
    }
}

/// The note, and the metadata whose names begin with `x-n`.
async fn echo(request: Request<Note>) -> Result<Response<Note>, Status> {
    let (metadata, _, note) = request.into_parts();
    let mut response = Response::new(note);
    let mut headers = http::HeaderMap::new();
    let mut last = None;
    for (name, value) in metadata.into_headers() {
        // Of several values, only the first comes with the name.
        last = name.or(last);
        if let Some(name) = last.clone().filter(|name| name.as_str().starts_with("x-n")) {
            headers.append(name, value);
        }
    }
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    Ok(response)
}

pub(super) const REFUSAL: &str = "no 100 %:\nnaïve";

async fn refuse(request: Request<Note>) -> Result<Response<Note>, Status> {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-note-length", request.get_ref().text.len().into());
    let details = vec![0, 255, 7].into();
    Err(Status::with_details_and_metadata(tonic::Code::FailedPrecondition, REFUSAL, details, metadata))
}

async fn hang(request: Request<Note>, state: Arc<State>) -> Result<Response<Note>, Status> {
    if let Some(deadline) = request.metadata().get("grpc-timeout") {
        state.deadlines.lock().unwrap().push(deadline.to_str().unwrap().to_owned());
    }
    state.begun.fetch_add(1, Ordering::SeqCst);
    let _given = Given(state);
    std::future::pending().await
}

async fn join(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let mut notes = request.into_inner();
    let mut all = note("");
    while let Some(next) = notes.message().await? {
        all.text += &next.text;
        all.data.extend(next.data);
    }
    Ok(Response::new(all))
}

/// As often as the text says; a text of `7!` ends with an error.
async fn repeat(request: Request<Note>) -> Result<Response<impl Stream<Item = Result<Note, Status>>>, Status> {
    let Note { text, data } = request.into_inner();
    let times: usize = text.trim_end_matches('!').parse().map_err(|_| Status::invalid_argument(text.clone()))?;
    let notes = (0..times).map(move |at| Ok(Note { text: at.to_string(), data: data.clone() }));
    let end = text.ends_with('!').then(|| Err(Status::data_loss("torn")));
    Ok(Response::new(iter(notes.chain(end))))
}

/// Each note is answered when it comes.
async fn talk(request: Request<Streaming<Note>>) -> Result<Response<impl Stream<Item = Result<Note, Status>>>, Status> {
    let notes = request.into_inner();
    Ok(Response::new(notes.map(|next| next.map(|next| note(format!("{}!", next.text))))))
}

/// A client of the gateway.
pub(super) struct Reader {
    grpc: tonic::client::Grpc<Channel>,
    /// Goes with every call.
    metadata: MetadataMap,
}

impl Reader {
    /// By TLS with an authority that is trusted, or without. `host` is what routes are chosen by.
    pub(super) async fn connect(at: SocketAddr, host: &str, trusted: Option<&pki::Identity>) -> Reader {
        let scheme = if trusted.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{at}")).unwrap();
        endpoint = endpoint.origin(format!("{scheme}://{host}").parse().unwrap());
        if let Some(authority) = trusted {
            let authority = Certificate::from_pem(authority.pem());
            let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name(host);
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        let grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        Reader { grpc: grpc.max_decoding_message_size(LONGEST), metadata: MetadataMap::new() }
    }

    pub(super) fn always(&mut self, name: &'static str, value: &str) {
        self.metadata.insert(name, value.parse().unwrap());
    }

    pub(super) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.metadata_mut().clone_from(&self.metadata);
        request
    }

    pub(super) async fn unary(&mut self, method: &str, request: Request<Note>) -> Result<Response<Note>, Status> {
        self.grpc.ready().await.unwrap();
        self.grpc.unary(request, path(method), Notes).await
    }

    pub(super) async fn client_streaming(&mut self, method: &str, notes: Vec<Note>) -> Result<Note, Status> {
        self.grpc.ready().await.unwrap();
        let request = self.request(iter(notes));
        let answered = self.grpc.client_streaming(request, path(method), Notes).await;
        answered.map(Response::into_inner)
    }

    pub(super) async fn server_streaming(&mut self, method: &str, note: Note) -> Result<Streaming<Note>, Status> {
        self.grpc.ready().await.unwrap();
        let request = self.request(note);
        let answered = self.grpc.server_streaming(request, path(method), Notes).await;
        answered.map(Response::into_inner)
    }

    /// A channel into the call, and what comes out of it.
    pub(super) async fn streaming(
        &mut self,
        method: &str,
    ) -> Result<(tokio::sync::mpsc::Sender<Note>, Streaming<Note>), Status> {
        self.grpc.ready().await.unwrap();
        let (sender, notes) = tokio::sync::mpsc::channel(1);
        let request = self.request(ReceiverStream::new(notes));
        let answered = self.grpc.streaming(request, path(method), Notes).await;
        Ok((sender, answered?.into_inner()))
    }
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/notes.Notes/{method}").parse().unwrap()
}

/// Runs a conversation, for at most so long.
pub(super) fn talk_within<F: Future>(limit: Duration, talk: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(limit, talk).await.unwrap() })
}
