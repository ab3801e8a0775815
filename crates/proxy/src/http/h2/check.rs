//! A call of gRPC's health service (grpc.health.v1), as health checks make it: one request on a connection of its own.

use bytes::Bytes;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// The longest answer that is read: the message is a few bytes.
const LONGEST: usize = 4096;

/// Whether the server says that `service` (the server as a whole where it is empty) serves. An error where it has no health
/// service, or is no gRPC server.
pub(crate) async fn is_serving<S>(stream: S, scheme: &str, authority: &str, service: &str) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    let call = call(send, scheme, authority, service);
    tokio::select! {
        answer = call => answer,
        // It ends with an error, or without an answer.
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}

async fn call(send: h2::client::SendRequest<Bytes>, scheme: &str, authority: &str, service: &str) -> io::Result<bool> {
    let uri = format!("{scheme}://{authority}/grpc.health.v1.Health/Check");
    let request = http::Request::builder().method("POST").uri(uri).version(http::Version::HTTP_2);
    let request = request.header("content-type", "application/grpc").header("te", "trailers").body(());
    let mut send = send.ready().await.map_err(io::Error::other)?;
    let request = request.map_err(io::Error::other)?;
    let (response, mut body) = send.send_request(request, false).map_err(io::Error::other)?;
    body.send_data(question(service), true).map_err(io::Error::other)?;
    let (head, mut answer) = response.await.map_err(io::Error::other)?.into_parts();
    let mut message = Vec::new();
    while let Some(data) = answer.data().await {
        let data = data.map_err(io::Error::other)?;
        let _ = answer.flow_control().release_capacity(data.len());
        message.extend_from_slice(&data);
        if message.len() > LONGEST {
            return Err(io::Error::other("the answer is too long for a health check"));
        }
    }
    let trailers = answer.trailers().await.map_err(io::Error::other)?;
    // An answer without a body has its status among the headers.
    let status = trailers.as_ref().and_then(|t| t.get("grpc-status")).or_else(|| head.headers.get("grpc-status"));
    match status.map(http::HeaderValue::as_bytes) {
        Some(b"0") if head.status == 200 => Ok(answered(&message) == Some(SERVING)),
        Some(status) => Err(io::Error::other(format!("gRPC status {}", String::from_utf8_lossy(status)))),
        None => Err(io::Error::other(format!("no gRPC: status {}", head.status))),
    }
}

/// `HealthCheckResponse.ServingStatus`
const SERVING: u64 = 1;

/// A `HealthCheckRequest` as a message of gRPC: a byte for compression, four for the length.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a string.
        message.push(0x0a);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn push_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// The status in a `HealthCheckResponse`: field 1, a number; where it is left out it is 0, unknown.
fn answered(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(5)?;
    if prefix.first() != Some(&0) {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{answered, question};

    #[test]
    fn messages_are_those_of_the_health_service() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B").as_ref(), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = question(&"x".repeat(200));
        assert_eq!(long.get(..8), Some(&[0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01][..]));
        let cases: [(&[u8], Option<u64>); 6] = [
            (&[0, 0, 0, 0, 2, 8, 1], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0], None),
            (&[], None),
        ];
        for (message, status) in cases {
            assert_eq!(answered(message), status, "{message:?}");
        }
    }
}
