//! The Admin API on a listener: requests go to the API on a thread that may wait, answers come back.

use bytes::Bytes;
use pdk::{BodyError, Client, Request};
use proxy::{BodyLength, Downstream, Proxy, Refusal, Service, Thread};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// A larger body waits for its turn: read, its values take many times its size.
const LARGE: usize = 256 * 1024;
/// How many large bodies are worked on at a time.
const MOST_LARGE: usize = 8;

pub(super) struct AdminService {
    api: Arc<admin::Api>,
    proxy: Arc<Proxy>,
    thread: Rc<Thread>,
    large: Arc<Semaphore>,
}

impl AdminService {
    pub(super) fn new(api: Arc<admin::Api>, proxy: Arc<Proxy>, thread: Rc<Thread>) -> Self {
        Self { api, proxy, thread, large: Arc::new(Semaphore::new(MOST_LARGE)) }
    }
}

impl Service for AdminService {
    fn call(&self, request: Request, client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(handle(self.api.clone(), self.thread.clone(), self.large.clone(), request, client, to))
    }

    fn refuse(
        &self,
        request: Request,
        client: Client,
        refusal: Refusal,
        mut to: Downstream,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let thread = self.thread.clone();
        Box::pin(async move { refused(&thread, request, client, refusal, &mut to).await })
    }

    fn is_draining(&self) -> bool {
        self.proxy.is_draining()
    }
}

async fn handle(
    api: Arc<admin::Api>,
    thread: Rc<Thread>,
    large: Arc<Semaphore>,
    mut request: Request,
    client: Client,
    mut to: Downstream,
) {
    let begin = Instant::now();
    let answer = match request.body.collect(api.body_limit()).await {
        Ok(body) => {
            let turn = if body.len() > LARGE { large.acquire_owned().await.ok() } else { None };
            let mut plain = plain(&request, body.into());
            plain.client = Some(client.ip);
            plain.certificate = client.tls.as_ref().and_then(|tls| tls.client_certificates.first().cloned());
            let answered = tokio::task::spawn_blocking(move || {
                let answer = api.handle(plain);
                drop(turn);
                answer
            });
            answered.await.unwrap_or_else(|_| admin::Response::message(500, "An unexpected error occurred"))
        }
        Err(BodyError::TooLarge) => admin::Response::too_large(),
        Err(_) => admin::Response::message(400, "Bad request"),
    };
    answered(&thread, request, client, begin, answer, &mut to).await;
}

/// How much of a long answer (a scrape has megabytes) is sent at once.
const PIECE: usize = 64 * 1024;

/// Sends an answer and logs it.
pub(super) async fn answered(
    thread: &Thread,
    request: Request,
    client: Client,
    begin: Instant,
    answer: admin::Response,
    to: &mut Downstream,
) {
    let status = answer.status;
    let sent = send(answer, to).await;
    thread.log(request, client, begin, status, sent);
}

/// Answers what is no HTTP request.
pub(super) async fn refused(thread: &Thread, request: Request, client: Client, refusal: Refusal, to: &mut Downstream) {
    let status = if refusal.status == 497 { 400 } else { refusal.status };
    let message = if refusal.message.is_empty() { "Bad request" } else { refusal.message };
    answered(thread, request, client, Instant::now(), admin::Response::message(status, message), to).await;
}

pub(super) fn plain(request: &Request, body: Vec<u8>) -> admin::Request {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    admin::Request {
        method: request.method.to_string(),
        path: text(request.path()),
        query: text(request.query().unwrap_or_default()),
        headers: request.headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
        body,
        ..admin::Request::default()
    }
}

/// Tells how many bytes the body had.
async fn send(answer: admin::Response, to: &mut Downstream) -> u64 {
    let mut headers = pdk::Headers::new();
    for (name, value) in &answer.headers {
        headers.append(name, value.as_bytes());
    }
    let mut sent = 0;
    let length = match answer.status {
        204 | 304 => BodyLength::None,
        _ if answer.rest.is_some() => BodyLength::Unknown,
        _ => BodyLength::Known(answer.body.len() as u64),
    };
    if to.head(answer.status, b"", &headers, length).is_err() {
        return sent;
    }
    let mut body = Bytes::from(answer.body);
    let whole = std::iter::from_fn(|| Some(body.split_to(body.len().min(PIECE))).filter(|piece| !piece.is_empty()));
    for (at, piece) in whole.chain(answer.rest.into_iter().flatten().map(Bytes::from)).enumerate() {
        if at > 0 {
            // Threads that proxy on this core come in between, and what else this thread does.
            pace::breathe();
            tokio::task::yield_now().await;
        }
        sent += piece.len() as u64;
        if to.data(piece).await.is_err() {
            return sent;
        }
    }
    let _ = to.finish(Bytes::new(), None).await;
    sent
}
