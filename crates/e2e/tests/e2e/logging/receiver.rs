//! A receiver of logs that takes what Elasticsearch's bulk API or Splunk's HTTP Event Collector takes, to the letter, and
//! answers anything else with 400.

use crate::script::read_head;
use serde_json::{Value, json};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Elasticsearch,
    Splunk,
}

/// What a request must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) protocol: Protocol,
    pub(super) path: &'static str,
    pub(super) authorization: &'static str,
}

/// What each request brought, or what was wrong with it.
type Seen = Mutex<Vec<Result<Vec<Value>, String>>>;

pub(super) struct Receiver {
    pub(super) at: SocketAddr,
    seen: Arc<Seen>,
}

impl Receiver {
    pub(super) fn start(expected: Expected) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, seen) = (listener.local_addr().unwrap(), Arc::default());
        let receiver = Receiver { at, seen: Arc::clone(&seen) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // The gateway ends a connection as it likes.
                std::thread::spawn(move || drop(serve(&stream, expected, &seen)));
            }
        });
        receiver
    }

    /// What the requests so far brought: documents with their time, or events. Fails where one was refused.
    pub(super) fn entries(&self) -> Vec<Value> {
        self.seen.lock().unwrap().iter().flat_map(|outcome| outcome.clone().unwrap()).collect()
    }
}

fn serve(stream: &TcpStream, expected: Expected, seen: &Seen) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let Some(head) = read_head(&mut reader)? else { return Ok(()) };
        let length = fields(&head, "content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let outcome = check(expected, &head, &body);
        let (status, answer) = match (&outcome, expected.protocol) {
            (Ok(entries), Protocol::Elasticsearch) => {
                let item = json!({ "create": { "_index": "logs", "_id": "1", "status": 201, "result": "created" } });
                (200, json!({ "took": 1, "errors": false, "items": vec![item; entries.len()] }))
            }
            (Ok(_), Protocol::Splunk) => (200, json!({ "text": "Success", "code": 0 })),
            (Err(wrong), _) => (400, json!({ "text": wrong, "code": 6 })),
        };
        seen.lock().map_err(|_| std::io::Error::other("a test failed"))?.push(outcome);
        let (mut out, answer) = (stream, answer.to_string());
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        out.write_all((head + &answer).as_bytes())?;
    }
}

/// The values of a field.
fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

fn must(is_so: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    is_so.then_some(()).ok_or_else(wrong)
}

/// The entries of a request, or what is wrong with it.
pub(super) fn check(expected: Expected, head: &str, body: &[u8]) -> Result<Vec<Value>, String> {
    let Expected { protocol, path, authorization } = expected;
    let line = head.lines().next().unwrap_or_default();
    must(line == format!("POST {path} HTTP/1.1"), || format!("request line: {line}"))?;
    let kind = match protocol {
        Protocol::Elasticsearch => "application/x-ndjson",
        Protocol::Splunk => "application/json",
    };
    let length = body.len().to_string();
    for (name, want) in [("content-type", kind), ("authorization", authorization), ("content-length", &length)] {
        let values = fields(head, name);
        must(values == [want], || format!("{name}: {values:?}"))?;
    }
    for name in ["transfer-encoding", "content-encoding", "expect"] {
        must(fields(head, name).is_empty(), || format!("there is a {name}"))?;
    }
    must(fields(head, "host").len() == 1, || "not one host".to_owned())?;
    let body = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    match protocol {
        Protocol::Elasticsearch => documents(body),
        Protocol::Splunk => events(body),
    }
}

/// Pairs of lines: what to do, and the document. The last line ends, too.
/// <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/docs-bulk.html>
fn documents(body: &str) -> Result<Vec<Value>, String> {
    let lines = body.strip_suffix('\n').ok_or("The bulk request must be terminated by a newline [\\n]")?;
    let lines: Vec<&str> = lines.split('\n').collect();
    must(lines.len().is_multiple_of(2), || format!("{} lines", lines.len()))?;
    let mut out = Vec::new();
    for pair in lines.chunks(2) {
        must(pair.iter().all(|line| !line.contains('\r')), || format!("a carriage return: {pair:?}"))?;
        let parse = |line: &str| serde_json::from_str::<Value>(line).map_err(|error| format!("{error}: {line}"));
        // A data stream takes nothing but `create`, and its name stands in the path.
        must(parse(pair[0])? == json!({ "create": {} }), || format!("action: {}", pair[0]))?;
        let document = parse(pair[1])?;
        must(document.is_object(), || format!("no object: {document}"))?;
        let time = &document["@timestamp"];
        must(time.as_u64().is_some_and(is_now), || format!("@timestamp: {time}"))?;
        out.push(document);
    }
    Ok(out)
}

/// Objects one after another, each of an event and what is known of it.
/// <https://docs.splunk.com/Documentation/Splunk/9.4.0/Data/FormateventsforHTTPEventCollector>
fn events(body: &str) -> Result<Vec<Value>, String> {
    let mut out = Vec::new();
    for event in serde_json::Deserializer::from_str(body).into_iter::<Value>() {
        let event = event.map_err(|error| format!("Invalid data format: {error}"))?;
        let members = event.as_object().ok_or_else(|| format!("no object: {event}"))?;
        let known = ["time", "host", "source", "sourcetype", "index", "fields", "event"];
        must(members.keys().all(|name| known.contains(&&**name)), || format!("members: {event}"))?;
        for name in ["host", "source", "sourcetype"] {
            must(event[name].as_str().is_some_and(|text| !text.is_empty()), || format!("{name}: {event}"))?;
        }
        let seconds = event["time"].as_f64().unwrap_or_default();
        must(is_now((seconds * 1000.0).round() as u64), || format!("time: {event}"))?;
        must(event["event"].is_object(), || format!("Event field is required: {event}"))?;
        out.push(event);
    }
    must(!out.is_empty(), || "No data".to_owned())?;
    Ok(out)
}

/// Whether milliseconds since the epoch are of these days.
fn is_now(milliseconds: u64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_millis().abs_diff(u128::from(milliseconds)) < 3_600_000
}
