//! Tests of `post`, and the server that it and the plugins that send are tested with.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A server that takes everything: heads (in lower case) and bodies of what it was sent. It answers with this status.
pub(crate) fn server(status: u16) -> (u16, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sent, received) = sync_channel(64);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(BufReader::new(stream.unwrap()), status, &sent);
        }
    });
    (port, received)
}

fn serve(mut stream: BufReader<TcpStream>, status: u16, sent: &SyncSender<(String, Vec<u8>)>) {
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or_default() <= 2 {
                break;
            }
            line.make_ascii_lowercase();
            length = line.trim_end().strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
            head += &line;
        }
        let mut body = vec![0; length];
        if head.is_empty() || stream.read_exact(&mut body).is_err() || sent.send((head, body)).is_err() {
            return;
        }
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn sends_bodies_and_tells_by_the_status_whether_they_were_taken() {
    for (status, has_query, want) in
        [(202, true, Ok(())), (503, false, Err(Failure::new("the answer is 503 Service Unavailable")))]
    {
        let (port, received) = server(status);
        let url = format!("http://127.0.0.1:{port}/p?q=1");
        let settings = Settings { url: &url, headers: vec![("X-Token", "t")], has_query, ..Settings::default() };
        let post = Post::new(&settings).unwrap();
        assert_eq!(block_on(post.send("body".into(), |status| status < 300)), want);
        let (head, body) = received.recv().unwrap();
        let line = if has_query { "post /p?q=1 http/1.1\r\n" } else { "post /p http/1.1\r\n" };
        assert!(head.starts_with(line) && head.contains("x-token: t\r\n"), "{head}");
        assert_eq!(body, b"body");
    }
}

#[test]
fn a_query_right_behind_the_host_is_no_part_of_it() {
    for (url, want) in [
        ("http://h:1?a=1", "http://h:1/?a=1"),
        ("http://h?a=/", "http://h/?a=/"),
        ("http://h:1/p?a=1", "http://h:1/p?a=1"),
        ("http://h:1#?", "http://h:1#?"),
        ("http://h", "http://h"),
    ] {
        assert_eq!(with_path(url), want);
    }
}

#[test]
fn a_client_needs_no_authorities_but_a_url_of_http() {
    let url = "https://127.0.0.1:1/";
    let settings = Settings { url, connect_timeout: Duration::from_secs(1), ..Settings::default() };
    assert!(Post::new(&settings).is_ok(), "a client without authorities can be built");
    assert_eq!(
        Post::new(&Settings { url: "ftp://h/", ..settings }).err().unwrap(),
        "scheme 'ftp' is neither http nor https"
    );
}
