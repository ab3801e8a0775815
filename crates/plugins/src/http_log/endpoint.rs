//! The server that log documents are sent to.

use super::Config;
use crate::queue::{Failure, Sender, Sending};
use crate::unverified;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use schema::validators::url::Url;
use std::error::Error;
use std::time::Duration;

/// Begins with what Kong's HTTP client says, which receivers may look for.
const AGENT: HeaderValue = HeaderValue::from_static("lua-resty-http/0.17.2 (compatible; Silverback)");
/// A longer answer costs its connection.
const ANSWER_BYTES: usize = 64 * 1024;

pub(super) struct Endpoint {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    timeout: Duration,
    is_array: bool,
}

impl Endpoint {
    /// `is_array`: documents are sent as JSON arrays. An error says nothing of the URL, which may hold a password.
    pub(super) fn new(config: &Config, is_array: bool) -> Result<Self, String> {
        let url = Url::parse(&config.http_endpoint).ok_or("empty")?;
        let scheme = url.scheme.unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            return Err(format!("scheme '{scheme}' is neither http nor https"));
        }
        let host = url.host.ok_or("missing host in url")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let port = url.port.map_or_else(String::new, |port| format!(":{port}"));
        let path = url.path.unwrap_or("/");
        let uri = format!("{scheme}://{host}{port}{path}").parse().map_err(|_| "not a valid URL")?;
        let milliseconds = |value: Option<f64>, default| Duration::from_millis(value.unwrap_or(default) as u64);
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let tls = unverified::client().map_err(|e| e.to_string())?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(milliseconds(config.keepalive, 60_000.0))
            .http1_title_case_headers(true)
            .build(connector);
        Ok(Self {
            client,
            uri,
            method: config.method.as_deref().unwrap_or("POST").parse().map_err(|_| "no method")?,
            headers: headers(config, url.userinfo)?,
            timeout: milliseconds(config.timeout, 10_000.0),
            is_array,
        })
    }

    /// The server's name and port.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    fn payload(&self, batch: &[String]) -> Bytes {
        match batch {
            [one] if !self.is_array => one.clone().into(),
            _ => format!("[{}]", batch.join(",")).into(),
        }
    }

    async fn post(&self, payload: Bytes) -> Result<(), Failure> {
        let mut request = Request::new(Full::new(payload));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await.map_err(|error| Failure(causes(&error)))?;
        let (head, mut body) = answer.into_parts();
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await
            && read <= ANSWER_BYTES
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        if head.status.as_u16() < 300 { Ok(()) } else { Err(Failure(format!("the answer is {}", head.status))) }
    }
}

impl Sender for Endpoint {
    fn send<'a>(&'a self, batch: &'a [String]) -> Sending<'a> {
        Box::pin(async {
            let work = self.post(self.payload(batch));
            tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| Err(Failure("timeout".to_owned())))
        })
    }
}

fn headers(config: &Config, userinfo: Option<&str>) -> Result<HeaderMap, String> {
    let mut out = HeaderMap::new();
    out.insert(USER_AGENT, AGENT);
    for (name, value) in config.headers.iter().flatten() {
        let name: HeaderName = name.parse().map_err(|_| format!("'{name}' is no name of a header field"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of {name} is no header field's"))?;
        out.insert(name, value);
    }
    let kind = config.content_type.as_deref().unwrap_or("application/json");
    out.insert(CONTENT_TYPE, HeaderValue::from_str(kind).map_err(|_| "no content type")?);
    if let Some(userinfo) = userinfo {
        let credentials = BASE64_STANDARD.encode(unescape(userinfo));
        let mut value = HeaderValue::from_str(&format!("Basic {credentials}")).map_err(|_| "no user")?;
        value.set_sensitive(true);
        out.insert(AUTHORIZATION, value);
    }
    Ok(out)
}

/// Takes the percent-encoding out, which user and password need in a URL.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// An error and what it comes from; the client's own texts do not say it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
