//! The status listener: /status, /status/ready, /status/dns, /metrics, and what the Admin API shares with it.

use super::admin_service::{answered, plain, refused};
use super::facts::Facts;
use pdk::{Client, Method, Request};
use proxy::{Downstream, Refusal, Service, Thread};
use serde_json::json;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Bodies that this listener reads are a few words.
const BODY: usize = 64 * 1024;

pub(super) struct StatusService {
    api: Arc<admin::Api>,
    facts: Arc<Facts>,
    thread: Rc<Thread>,
}

impl StatusService {
    pub(super) fn new(api: Arc<admin::Api>, facts: Arc<Facts>, thread: Rc<Thread>) -> Self {
        Self { api, facts, thread }
    }
}

impl Service for StatusService {
    fn call(&self, request: Request, client: Client, to: Downstream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(handle(self.api.clone(), self.facts.clone(), self.thread.clone(), request, client, to))
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
        self.facts.is_draining()
    }
}

async fn handle(
    api: Arc<admin::Api>,
    facts: Arc<Facts>,
    thread: Rc<Thread>,
    mut request: Request,
    client: Client,
    mut to: Downstream,
) {
    let begin = Instant::now();
    let answer = match request.body.collect(BODY).await {
        Ok(body) => answer(api, &facts, &request, &body).await,
        Err(_) => admin::Response::too_large(),
    };
    answered(&thread, request, client, begin, answer, &mut to).await;
}

async fn answer(api: Arc<admin::Api>, facts: &Facts, request: &Request, body: &[u8]) -> admin::Response {
    let plain = plain(request, body.to_vec());
    let path = plain.path.trim_end_matches('/').to_owned();
    match (&request.method, path.as_str()) {
        (Method::Get | Method::Head, "/status/ready") => ready(facts),
        (Method::Post, "/status/ready") => drain(facts, &plain),
        (_, "/status" | "/status/dns" | "/metrics") => through(api, plain).await,
        (_, path) if facts.is_dbless() && path.starts_with("/upstreams/") => through(api, plain).await,
        _ => admin::Response::not_found(),
    }
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
