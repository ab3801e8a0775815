//! The client side of HTTP/2: connections to upstreams (gRPC), shared by the requests of a thread.

use super::body::{StreamBody, send_body};
use super::{Rewound, from_map, to_map};
use crate::http::connection::{Connection, Stream};
use crate::http::h1::client::{Answer, ExchangeError, Patience};
use bytes::Bytes;
use h2::client::SendRequest;
use pdk::{Body, Headers};
use std::time::Duration;
use tokio::time::timeout;

/// A connection that carries many requests.
#[derive(Clone)]
pub(crate) struct Channel(SendRequest<Bytes>);

impl Channel {
    /// Greets the upstream; the connection is driven by a task of its own until it closes.
    pub(crate) async fn open(conn: Connection, limit: Duration) -> Result<Self, ExchangeError> {
        let (stream, first): (Stream, _) = conn.into_stream();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(256 * 1024).initial_connection_window_size(1024 * 1024).enable_push(false);
        match timeout(limit, builder.handshake(Rewound::new(stream, first))).await {
            Ok(Ok((send, driver))) => {
                tokio::task::spawn_local(async move {
                    // What breaks the connection reaches each of its requests.
                    let _ = driver.await;
                });
                Ok(Self(send))
            }
            Ok(Err(_)) => Err(ExchangeError::Closed),
            Err(_) => Err(ExchangeError::Timeout),
        }
    }

    /// Whether a new request can be sent on it now or soon; an error means that it is closed.
    pub(crate) async fn is_open(&self, limit: Duration) -> bool {
        matches!(timeout(limit, self.0.clone().ready()).await, Ok(Ok(_)))
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn exchange(
        &self,
        method: &str,
        uri: http::Uri,
        headers: &Headers,
        body: Body,
        patience: Patience,
    ) -> Result<Answer, ExchangeError> {
        let mut send = match timeout(patience.write, self.0.clone().ready()).await {
            Ok(Ok(send)) => send,
            Ok(Err(_)) => return Err(ExchangeError::Closed),
            Err(_) => return Err(ExchangeError::Timeout),
        };
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::from_bytes(method.as_bytes()).map_err(|_| ExchangeError::Malformed)?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = to_map(headers);
        let is_end = matches!(body, Body::Empty);
        let (response, stream) = send.send_request(request, is_end).map_err(|_| ExchangeError::Closed)?;
        let mut pump = (!is_end).then(|| Box::pin(send_body(stream, body)) as crate::http::h1::client::Pump);
        let mut response = Box::pin(timeout(patience.read, response));
        let head = std::future::poll_fn(|task| {
            if let Some(sending) = &mut pump
                && let std::task::Poll::Ready(sent) = sending.as_mut().poll(task)
            {
                pump = None;
                if let Err(ExchangeError::Body(error)) = sent {
                    return std::task::Poll::Ready(Err(ExchangeError::Body(error)));
                }
            }
            response.as_mut().poll(task).map(|answer| match answer {
                Ok(Ok(head)) => Ok(head),
                Ok(Err(_)) => Err(ExchangeError::Closed),
                Err(_) => Err(ExchangeError::Timeout),
            })
        })
        .await?;
        let (parts, stream) = head.into_parts();
        let length = parts.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        let body = if stream.is_end_stream() && pump.is_none() {
            Body::Empty
        } else {
            Body::Stream(Box::pin(StreamBody::new(stream, length, patience.read, pump)))
        };
        Ok(Answer {
            status: parts.status.as_u16(),
            reason: Vec::new(),
            headers: from_map(&parts.headers),
            body,
            upgraded: None,
        })
    }
}
