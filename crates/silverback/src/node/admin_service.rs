//! The Admin API on a listener: requests go to the API on a thread that may wait, answers come back.

use bytes::Bytes;
use pdk::{BodyError, Client, Request, Response};
use proxy::{BodyLength, Downstream, Proxy, Service};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The largest body the API takes (`nginx_admin_client_max_body_size`'s default).
const BODY: usize = 10 * 1024 * 1024;

pub(super) struct AdminService {
    api: Arc<admin::Api>,
    proxy: Arc<Proxy>,
}

impl AdminService {
    pub(super) fn new(api: Arc<admin::Api>, proxy: Arc<Proxy>) -> Self {
        Self { api, proxy }
    }
}

impl Service for AdminService {
    fn call(&self, request: Request, _client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(handle(self.api.clone(), request, to))
    }

    fn refuse(&self, _client: Client, status: u16, message: &'static str) -> Response {
        Response::message(
            if status == 494 { 400 } else { status },
            if message.is_empty() { "Bad request" } else { message },
        )
    }

    fn is_draining(&self) -> bool {
        self.proxy.is_draining()
    }
}

async fn handle(api: Arc<admin::Api>, mut request: Request, mut to: Downstream) {
    let answer = match request.body.collect(BODY).await {
        Ok(body) => {
            let plain = plain(&request, body.into());
            let answered = tokio::task::spawn_blocking(move || api.handle(plain)).await;
            answered.unwrap_or_else(|_| admin::Response::message(500, "An unexpected error occurred"))
        }
        Err(BodyError::TooLarge) => admin::Response::too_large(),
        Err(_) => admin::Response::message(400, "Bad request"),
    };
    send(answer, &mut to).await;
}

pub(super) fn plain(request: &Request, body: Vec<u8>) -> admin::Request {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    admin::Request {
        method: request.method.to_string(),
        path: text(request.path()),
        query: text(request.query().unwrap_or_default()),
        headers: request.headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
        body,
    }
}

pub(super) async fn send(answer: admin::Response, to: &mut Downstream) {
    let mut headers = pdk::Headers::new();
    for (name, value) in &answer.headers {
        headers.append(name, value.as_bytes());
    }
    let length = match answer.status {
        204 | 304 => BodyLength::None,
        _ => BodyLength::Known(answer.body.len() as u64),
    };
    if to.head(answer.status, b"", &headers, length).is_ok() {
        let _ = to.finish(Bytes::from(answer.body), None).await;
    }
}
