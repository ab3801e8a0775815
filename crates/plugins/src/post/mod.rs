//! An HTTP client for what plugins send to other hosts: bodies, all to one URL.

use crate::queue::Failure;
use crate::{trust, unverified};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use schema::validators::url::Url;
use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

/// Begins with what Kong's HTTP client says, which receivers may look for.
const AGENT: HeaderValue = HeaderValue::from_static("lua-resty-http/0.17.2 (compatible; Silverback)");
/// A longer answer costs its connection.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where bodies go and how.
pub(crate) struct Settings<'a> {
    /// User and password in it become an `Authorization` field.
    pub(crate) url: &'a str,
    pub(crate) method: &'a str,
    pub(crate) content_type: &'a str,
    /// More header fields.
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    /// How long connecting may take.
    pub(crate) connect_timeout: Duration,
    /// How long a request may take in all.
    pub(crate) timeout: Duration,
    /// How long an idle connection is kept.
    pub(crate) keepalive: Duration,
    /// Whether the query of the URL is sent.
    pub(crate) has_query: bool,
    /// Whether the server's certificate is verified.
    pub(crate) is_verified: bool,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            url: "",
            method: "POST",
            content_type: "application/json",
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(60),
            has_query: true,
            is_verified: true,
        }
    }
}

/// A client with a pool of connections.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes a client. Connections that are idle for `keepalive` are closed.
pub(crate) fn client(connect_timeout: Duration, keepalive: Duration, is_verified: bool) -> Result<HttpClient, String> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    let tls = if is_verified { trust::client() } else { unverified::client() };
    let tls = tls.map_err(|error| error.to_string())?;
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(keepalive)
        .http1_title_case_headers(true)
        .build(connector))
}

/// Sends a request; the status of the answer, whose body is read and thrown away up to a limit. A longer one costs its
/// connection.
pub(crate) async fn send(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<StatusCode, Failure> {
    read(client, request, limit, |_| {}).await
}

/// Sends a request and reads the answer, piece by piece up to a limit.
async fn read(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    limit: usize,
    mut take: impl FnMut(&Bytes),
) -> Result<StatusCode, Failure> {
    let answer = client.request(request).await.map_err(|error| Failure::new(causes(&error)))?;
    let (head, mut body) = answer.into_parts();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await
        && read <= limit
    {
        if let Some(piece) = frame.data_ref() {
            read += piece.len();
            take(piece);
        }
    }
    Ok(head.status)
}

/// The client of one URL.
pub(crate) struct Post {
    client: HttpClient,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    timeout: Duration,
}

impl Post {
    /// An error says nothing of the URL, which may hold a password.
    pub(crate) fn new(settings: &Settings<'_>) -> Result<Self, String> {
        let url = with_path(settings.url);
        let url = Url::parse(&url).ok_or("empty")?;
        let scheme = url.scheme.unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            return Err(format!("scheme '{scheme}' is neither http nor https"));
        }
        let host = url.host.ok_or("missing host in url")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let port = url.port.map_or_else(String::new, |port| format!(":{port}"));
        let path = url.path.unwrap_or("/");
        let query = url.query.filter(|_| settings.has_query).map_or_else(String::new, |query| format!("?{query}"));
        let uri = format!("{scheme}://{host}{port}{path}{query}").parse().map_err(|_| "not a valid URL")?;
        let client = client(settings.connect_timeout, settings.keepalive, settings.is_verified)?;
        Ok(Self {
            client,
            uri,
            method: settings.method.parse().map_err(|_| "no method")?,
            headers: headers(settings, url.userinfo)?,
            timeout: settings.timeout,
        })
    }

    /// The server's name and port.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Sends a body. Any answer for which `is_taken` does not hold is a failure.
    pub(crate) async fn send(&self, body: Bytes, is_taken: fn(u16) -> bool) -> Result<(), Failure> {
        self.exchange(body, is_taken, ANSWER_BYTES, |_| {}).await
    }

    /// As [`send`](Self::send); the answer's body, of which no more is kept than some bytes beyond `limit`.
    pub(crate) async fn ask(&self, body: Bytes, is_taken: fn(u16) -> bool, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut answer = Vec::new();
        self.exchange(body, is_taken, limit, |piece| answer.extend_from_slice(piece)).await?;
        Ok(answer)
    }

    async fn exchange(
        &self,
        body: Bytes,
        is_taken: fn(u16) -> bool,
        limit: usize,
        take: impl FnMut(&Bytes),
    ) -> Result<(), Failure> {
        let late = || Failure::new("timeout".to_owned());
        let exchange = read(&self.client, self.request(body), limit, take);
        let status = tokio::time::timeout(self.timeout, exchange).await.map_err(|_| late())??;
        // Those that another time or another configuration of the server would change are none.
        let is_refusal = status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 404 | 408 | 425 | 429);
        let reason = || format!("the answer is {status}");
        match is_taken(status.as_u16()) {
            true => Ok(()),
            false if is_refusal => Err(Failure::refusal(reason())),
            false => Err(Failure::new(reason())),
        }
    }
}

/// A URL whose query does not come right behind its host, where `Url` would take it for a part of that.
fn with_path(url: &str) -> Cow<'_, str> {
    let authority = url.find("://").map_or(0, |at| at + 3);
    match url.get(authority..).and_then(|rest| rest.find(['/', '?', '#'])) {
        Some(at) if url.as_bytes().get(authority + at) == Some(&b'?') => {
            let (before, query) = url.split_at(authority + at);
            format!("{before}/{query}").into()
        }
        _ => url.into(),
    }
}

fn headers(settings: &Settings<'_>, userinfo: Option<&str>) -> Result<HeaderMap, String> {
    let mut out = HeaderMap::new();
    out.insert(USER_AGENT, AGENT);
    for (name, value) in &settings.headers {
        let name: HeaderName = name.parse().map_err(|_| format!("'{name}' is no name of a header field"))?;
        let mut value =
            HeaderValue::from_str(value).map_err(|_| format!("the value of {name} is no header field's"))?;
        // Such fields hold tokens often enough.
        value.set_sensitive(true);
        out.insert(name, value);
    }
    out.insert(CONTENT_TYPE, HeaderValue::from_str(settings.content_type).map_err(|_| "no content type")?);
    if let Some(userinfo) = userinfo {
        out.insert(AUTHORIZATION, basic(userinfo)?);
    }
    Ok(out)
}

/// The `Authorization` of a URL's user and password (RFC 7617).
pub(crate) fn basic(userinfo: &str) -> Result<HeaderValue, String> {
    let credentials = BASE64_STANDARD.encode(unescape(userinfo));
    let mut value = HeaderValue::from_str(&format!("Basic {credentials}")).map_err(|_| "no user")?;
    value.set_sensitive(true);
    Ok(value)
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

#[cfg(test)]
pub(crate) mod tests;
