//! gRPC between a client and a server that are not ours: every kind of call, by every way through the gateway.

mod notes;

use crate::gateway::{Gateway, eventually};
use crate::pki::Identity;
use notes::{Book, Note, REFUSAL, Reader, note, talk_within};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Code;
use tonic::metadata::MetadataValue;

const LIMIT: Duration = Duration::from_secs(60);
const HOST: &str = "notes.test";

/// A gateway before services of this protocol, whose listener by TLS shows a certificate for [`HOST`].
fn gateway(services: &Value, more: Value) -> (Gateway, Identity) {
    let authority = Identity::authority("all");
    let own = authority.issue(&[HOST]);
    let mut yml = json!({
        "_format_version": "3.0",
        "services": services,
        "certificates": [{ "cert": own.pem(), "key": own.key_pem(), "snis": [{ "name": HOST }] }],
    });
    if let (Value::Object(into), Value::Object(more)) = (&mut yml, more) {
        into.extend(more);
    }
    (Gateway::start(&yml.to_string()), authority)
}

#[test]
fn calls_of_every_kind_pass_by_every_way() {
    let server = Identity::authority("servers").issue(&["127.0.0.1"]);
    let books = [("grpc", Book::open(None)), ("grpcs", Book::open(Some(&server)))];
    let services = books.iter().map(|(protocol, book)| {
        json!({ "url": format!("{protocol}://{}", book.at), "routes": [{ "protocols": ["grpc", "grpcs"], "headers": { "x-way": [protocol] } }] })
    });
    let services: Value = services.collect();
    let (gateway, authority) = gateway(&services, json!({}));
    for (protocol, _) in &books {
        for trusted in [None, Some(&authority)] {
            let what = format!("{protocol}, by TLS: {}", trusted.is_some());
            let at = if trusted.is_some() { gateway.ports.tls } else { gateway.ports.proxy };
            talk_within(LIMIT, async {
                let mut reader = Reader::connect(at, HOST, trusted).await;
                reader.always("x-way", protocol);
                converse(&what, &mut reader).await;
            });
        }
    }
}

async fn converse(what: &str, reader: &mut Reader) {
    // Metadata both ways: several values, and bytes that are no text.
    let mut request = reader.request(note("hello"));
    let metadata = request.metadata_mut();
    metadata.append("x-name", "one".parse().unwrap());
    metadata.append("x-name", "two".parse().unwrap());
    metadata.append_bin("x-number-bin", MetadataValue::from_bytes(&[0, 1, 254, 255, b'\n']));
    let answer = reader.unary("Echo", request).await.unwrap();
    let names: Vec<_> = answer.metadata().get_all("x-name").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["one", "two"], "{what}: {answer:?}");
    let number = answer.metadata().get_bin("x-number-bin").unwrap().to_bytes().unwrap();
    assert_eq!(&number[..], [0, 1, 254, 255, b'\n'], "{what}");
    assert_eq!(answer.into_inner(), note("hello"), "{what}");

    // Messages of 4 MB, which take many frames and all of the windows.
    let data: Vec<u8> = (0..4 * 1024 * 1024_u32).map(|at| (at % 251) as u8).collect();
    let long = Note { text: "long".to_owned(), data };
    let request = reader.request(long.clone());
    assert!(reader.unary("Echo", request).await.unwrap().into_inner() == long, "{what}");
    let request = reader.request(note(""));
    assert_eq!(reader.unary("Echo", request).await.unwrap().into_inner(), note(""), "{what}: an empty message");

    let many = (0..1000).map(|at| note(format!("{at},"))).collect();
    let joined = reader.client_streaming("Join", many).await.unwrap();
    assert!(joined.text.starts_with("0,1,2,") && joined.text.ends_with("998,999,"), "{what}: {}", joined.text);
    assert_eq!(reader.client_streaming("Join", Vec::new()).await.unwrap(), note(""), "{what}: no message");
    let pieces = vec![Note { text: "x".to_owned(), data: vec![7; 500_000] }; 8];
    assert_eq!(reader.client_streaming("Join", pieces).await.unwrap().data.len(), 4_000_000, "{what}");

    for (times, size) in [(0, 0), (1000, 10), (8, 500_000)] {
        let asked = Note { text: times.to_string(), data: vec![1; size] };
        let mut notes = reader.server_streaming("Repeat", asked).await.unwrap();
        let mut came = 0;
        while let Some(next) = notes.message().await.unwrap() {
            assert_eq!((next.text, next.data.len()), (came.to_string(), size), "{what}");
            came += 1;
        }
        assert_eq!(came, times, "{what}");
        assert!(notes.trailers().await.unwrap().is_some(), "{what}");
    }

    // Each note goes out when the one before has been answered: nothing on the way waits for more.
    let (sender, mut notes) = reader.streaming("Talk").await.unwrap();
    for at in 0..20 {
        sender.send(note(at.to_string())).await.unwrap();
        assert_eq!(notes.message().await.unwrap(), Some(note(format!("{at}!"))), "{what}");
    }
    drop(sender);
    assert_eq!(notes.message().await.unwrap(), None, "{what}");

    // An error instead of any message, one after some, and a method that there is not.
    let request = reader.request(note("four"));
    let refused = reader.unary("Refuse", request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, REFUSAL), "{what}");
    assert_eq!(refused.details(), [0, 255, 7], "{what}");
    assert_eq!(refused.metadata().get("x-note-length").unwrap(), "4", "{what}");
    let mut notes = reader.server_streaming("Repeat", note("2!")).await.unwrap();
    for text in ["0", "1"] {
        assert_eq!(notes.message().await.unwrap(), Some(note(text)), "{what}");
    }
    let torn = notes.message().await.unwrap_err();
    assert_eq!((torn.code(), torn.message()), (Code::DataLoss, "torn"), "{what}");
    let request = reader.request(note(""));
    let unknown = reader.unary("None", request).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::Unimplemented, "/notes.Notes/None"), "{what}");
}

#[test]
fn a_call_that_its_client_gives_up_is_given_up_at_the_server() {
    let book = Book::open(None);
    let services =
        json!([{ "url": format!("grpc://{}", book.at), "routes": [{ "protocols": ["grpc"], "hosts": [HOST] }] }]);
    let (gateway, _) = gateway(&services, json!({}));
    talk_within(LIMIT, async {
        let mut reader = Reader::connect(gateway.ports.proxy, HOST, None).await;
        let request = reader.request(note("x"));
        let mut call = Box::pin(reader.unary("Hang", request));
        let begun = async {
            while book.begun() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            answer = &mut call => panic!("{answer:?}"),
            () = begun => {}
        }
        assert_eq!(book.given_up(), 0);
        drop(call);
        while book.given_up() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Its connection goes on; the next call is one with a deadline.
        let mut request = reader.request(note("x"));
        request.set_timeout(Duration::from_millis(300));
        let late = reader.unary("Hang", request).await.unwrap_err();
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
        while book.given_up() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let request = reader.request(note("still there"));
        assert_eq!(reader.unary("Echo", request).await.unwrap().into_inner(), note("still there"));
    });
    assert_eq!(book.deadlines().len(), 1, "{:?}", book.deadlines());
    assert!(book.deadlines()[0].starts_with("300"), "{:?}", book.deadlines());
}

#[test]
fn what_the_gateway_refuses_is_told_as_grpc_tells_errors() {
    let book = Book::open(None);
    let route =
        |host: &str, plugins: Value| json!({ "protocols": ["grpc", "grpcs"], "hosts": [host], "plugins": plugins });
    let terminated = |config: Value| json!([{ "name": "request-termination", "config": config }]);
    let services = json!([
        { "url": format!("grpc://{}", book.at), "read_timeout": 300, "retries": 0, "routes": [
            route("key.test", json!([{ "name": "key-auth" }])),
            route("message.test", terminated(json!({ "status_code": 503, "message": "closed for today" }))),
            route("status.test", terminated(json!({ "status_code": 403 }))),
            route("plain.test", json!([])),
            { "protocols": ["grpcs"], "hosts": ["tls.test"] },
        ] },
        { "url": "grpc://127.0.0.1:1", "retries": 0, "routes": [route("dead.test", json!([]))] },
    ]);
    let consumers = json!({ "consumers": [{ "username": "ada", "keyauth_credentials": [{ "key": "secret" }] }] });
    let (gateway, _) = gateway(&services, consumers);
    let cases = [
        ("key.test", "Echo", "", Code::Unauthenticated, "No API key found in request"),
        ("key.test", "Echo", "wrong", Code::Unauthenticated, "Unauthorized"),
        ("key.test", "Echo", "secret", Code::Ok, ""),
        ("message.test", "Echo", "", Code::Unavailable, "closed for today"),
        ("status.test", "Echo", "", Code::PermissionDenied, "PermissionDenied"),
        ("plain.test", "Hang", "", Code::DeadlineExceeded, "The upstream server is timing out"),
        ("dead.test", "Echo", "", Code::Internal, "An invalid response was received from the upstream server"),
        ("none.test", "Echo", "", Code::NotFound, "no Route matched with those values"),
        ("tls.test", "Echo", "", Code::Cancelled, "gRPC request matched gRPCs route"),
    ];
    for (host, method, key, code, message) in cases {
        talk_within(LIMIT, async {
            let mut reader = Reader::connect(gateway.ports.proxy, host, None).await;
            let mut request = reader.request(note("x"));
            if !key.is_empty() {
                request.metadata_mut().insert("apikey", key.parse().unwrap());
            }
            match reader.unary(method, request).await {
                Ok(_) => assert_eq!(code, Code::Ok, "{host} {key}"),
                Err(status) => {
                    assert_eq!((status.code(), status.message()), (code, message), "{host} {key}: {status:?}")
                }
            }
        });
    }
    eventually("the call that took too long is given up", || book.given_up() == 1);
}
