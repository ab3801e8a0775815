//! The status listener: /status, /status/ready, /status/dns, /metrics, and what the Admin API shares with it.

use super::admin_service::{plain, send};
use super::facts::Facts;
use pdk::{Client, Method, Request, Response};
use proxy::{Downstream, Service};
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Bodies that this listener reads are a few words.
const BODY: usize = 64 * 1024;

pub(super) struct StatusService {
    api: Arc<admin::Api>,
    facts: Arc<Facts>,
}

impl StatusService {
    pub(super) fn new(api: Arc<admin::Api>, facts: Arc<Facts>) -> Self {
        Self { api, facts }
    }
}

impl Service for StatusService {
    fn call(&self, request: Request, _client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(handle(self.api.clone(), self.facts.clone(), request, to))
    }

    fn refuse(&self, _client: Client, status: u16, message: &'static str) -> Response {
        Response::message(status, message)
    }

    fn is_draining(&self) -> bool {
        self.facts.is_draining()
    }
}

async fn handle(api: Arc<admin::Api>, facts: Arc<Facts>, mut request: Request, mut to: Downstream) {
    let Ok(body) = request.body.collect(BODY).await else {
        return send(admin::Response::too_large(), &mut to).await;
    };
    let plain = plain(&request, body.to_vec());
    let path = plain.path.trim_end_matches('/').to_owned();
    let answer = match (&request.method, path.as_str()) {
        (Method::Get | Method::Head, "/status/ready") => ready(&facts),
        (Method::Post, "/status/ready") => drain(&facts, &plain),
        (_, "/status" | "/status/dns" | "/metrics") => through(api, plain).await,
        (_, path) if facts.is_dbless() && path.starts_with("/upstreams/") => through(api, plain).await,
        _ => admin::Response::not_found(),
    };
    send(answer, &mut to).await;
}

async fn through(api: Arc<admin::Api>, request: admin::Request) -> admin::Response {
    let answered = tokio::task::spawn_blocking(move || api.handle_open(request)).await;
    answered.unwrap_or_else(|_| admin::Response::message(500, "An unexpected error occurred"))
}

fn ready(facts: &Facts) -> admin::Response {
    match facts.not_ready() {
        None => admin::Response::message(200, "ready"),
        Some(why) => admin::Response::message(503, why),
    }
}

/// `POST /status/ready` with `status=draining`: load balancers are told to look elsewhere; traffic goes on.
fn drain(facts: &Facts, request: &admin::Request) -> admin::Response {
    let text = String::from_utf8_lossy(&request.body);
    let asked = text.split('&').any(|pair| pair == "status=draining")
        || serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|v| v["status"] == "draining");
    if !asked {
        return admin::Response::json(400, &json!({ "message": "invalid status: expected draining" }));
    }
    facts.announce_draining();
    admin::Response::empty(204)
}
