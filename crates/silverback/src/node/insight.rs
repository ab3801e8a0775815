//! Why a request goes where it goes: questions of the Admin API, answered from the snapshot that is in force.

use admin::{Asked, Explained, HttpVersion};
use pdk::{Body, Client, Headers, Method, Phases, Request, Response, Scheme, TlsInfo, Version};
use proxy::{Matched, Proxy, Terms};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

const PHASES: [(Phases, &str); 6] = [
    (Phases::REWRITE, "rewrite"),
    (Phases::ACCESS, "access"),
    (Phases::RESPONSE, "response"),
    (Phases::HEADER_FILTER, "header_filter"),
    (Phases::BODY_FILTER, "body_filter"),
    (Phases::LOG, "log"),
];

pub(super) fn explain(proxy: &Proxy, asked: &Asked, consumer: Option<Uuid>) -> Result<Explained, String> {
    let explained = proxy
        .explain(request(asked), client(asked), consumer)
        .map_err(|status| format!("such a path is answered {status}"))?;
    let plugins = explained.plugins.iter().map(|(plugin, phases)| {
        let row = serde_json::to_value(&**plugin).unwrap_or_default();
        (row, PHASES.iter().filter(|(phase, _)| phases.contains(*phase)).map(|(_, name)| *name).collect())
    });
    let others = explained.others.iter().map(|(route, unmet)| {
        let reason = match unmet.as_slice() {
            [] => "it matches too, and comes after the one that is taken".to_owned(),
            names => format!("the request does not meet: {}", names.join(", ")),
        };
        json!({ "route": { "id": route.id, "name": route.name }, "unmet": unmet, "reason": reason })
    });
    let client = &explained.client;
    Ok(Explained {
        client: json!({ "ip": client.ip, "port": client.port, "trusted": client.is_trusted }),
        answer: explained.answer.as_ref().map_or(Value::Null, answered),
        matched: explained.found.as_ref().map_or(Value::Null, shown),
        plugins: plugins.collect(),
        others: others.collect(),
    })
}

fn shown(matched: &Matched) -> Value {
    let upstream = matched.upstream.as_ref().map(|upstream| {
        let path = String::from_utf8_lossy(&upstream.path);
        format!("{}://{}:{}{path}", upstream.scheme.as_str(), upstream.host, upstream.port)
    });
    let prefix = matched.upstream.as_ref().and_then(|upstream| upstream.prefix.as_deref());
    let captures: Map<String, Value> =
        matched.captures.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "route": { "id": matched.route.id, "name": matched.route.name },
        "service": matched.service.as_ref().map(|service| json!({ "id": service.id, "name": service.name })),
        "upstream": upstream,
        "stripped": prefix.map(|prefix| String::from_utf8_lossy(prefix)),
        "captures": captures,
        "terms": matched.terms.as_ref().map(terms),
    })
}

/// The answer that the gateway gives itself.
fn answered(response: &Response) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Map<String, Value> =
        response.headers.iter().map(|(name, value)| (text(name).to_ascii_lowercase(), text(value).into())).collect();
    let body = match &response.body {
        Body::Bytes(bytes) => text(bytes),
        Body::Empty | Body::Stream(_) => String::new(),
    };
    json!({ "status": response.status, "headers": headers, "body": body })
}

fn terms(terms: &Terms) -> Value {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "connect_timeout": ms(terms.connect_timeout),
        "write_timeout": ms(terms.patience.write),
        "read_timeout": ms(terms.patience.read),
        "request_timeout": terms.limit.map(ms),
        "retries": terms.retries,
        "retry_policy": terms.policy,
    })
}

fn request(asked: &Asked) -> Request {
    let mut headers = Headers::new();
    let target = headers.store(asked.target.as_bytes());
    let host = headers.store(asked.host.as_bytes());
    headers.append("Host", asked.host.as_bytes());
    for (name, value) in &asked.headers {
        headers.append(name, value.as_bytes());
    }
    let version = match asked.http_version {
        HttpVersion::Http10 => Version::Http10,
        HttpVersion::Http11 => Version::Http11,
        HttpVersion::Http2 => Version::Http2,
    };
    Request::new(Method::from_name(&asked.method), version, headers, target, host)
}

fn client(asked: &Asked) -> Client {
    let (scheme, port) = if asked.is_tls { (Scheme::Https, 443) } else { (Scheme::Http, 80) };
    let peer = asked.client.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 50_000)));
    let local = asked.listener.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
    // In small letters, as it comes from a connection.
    let sni = asked.sni.as_ref().map(|sni| sni.to_ascii_lowercase());
    let tls = TlsInfo { version: "TLSv1.3", cipher: String::new(), sni, client_certificates: Vec::new() };
    Client {
        ip: peer.ip(),
        port: peer.port(),
        peer,
        // The proxy knows.
        is_trusted: false,
        local,
        public_port: local.port(),
        scheme,
        tls: asked.is_tls.then(|| Rc::new(tls)),
        connection: 0,
        connection_requests: 1,
    }
}
