//! Tests of `redis` against a server of their own; `e2e` has those against a real one.

use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

#[test]
fn commands_are_arrays_of_bulk_strings() {
    let mut out = Vec::new();
    resp::command(&mut out, &[b"SET", b"k", b"a\r\nb"]);
    assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
}

#[test]
fn reads_replies_and_refuses_garbage() {
    let bulk = |text: &str| Reply::Bulk(text.into());
    for (bytes, want) in [
        ("+OK\r\n", Ok(Some((Reply::Status("OK".into()), 5)))),
        ("-ERR x\r\n:1\r\n", Ok(Some((Reply::Error("ERR x".into()), 8)))),
        (":-12\r\n", Ok(Some((Reply::Number(-12), 6)))),
        ("$-1\r\n", Ok(Some((Reply::Nil, 5)))),
        ("$3\r\na\nb\r\n", Ok(Some((bulk("a\nb"), 9)))),
        ("*2\r\n:1\r\n$0\r\n\r\n", Ok(Some((Reply::Array(vec![Reply::Number(1), bulk("")]), 14)))),
        ("*-1\r\n", Ok(Some((Reply::Nil, 5)))),
        ("", Ok(None)),
        ("$3\r\nab", Ok(None)),
        ("*2\r\n:1\r\n", Ok(None)),
        ("HTTP/1.1 200 OK\r\n", Err(resp::Garbage)),
        (":x\r\n", Err(resp::Garbage)),
        ("+OK\n", Err(resp::Garbage)),
        ("$3\r\nabcd\r\n", Err(resp::Garbage)),
        ("$99999999999\r\n", Err(resp::Garbage)),
        ("*99999\r\n", Err(resp::Garbage)),
        ("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", Err(resp::Garbage)),
    ] {
        assert_eq!(resp::parse(bytes.as_bytes()), want, "{bytes:?}");
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn redis(port: u16, more: serde_json::Value) -> Arc<Redis> {
    let mut config = serde_json::json!({ "host": "127.0.0.1", "port": port, "timeout": 10_000 });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    Redis::of(Settings::new(serde_json::from_value(config).unwrap()).unwrap())
}

fn command(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    resp::command(&mut out, &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
    out
}

/// Reads what comes and answers it with these bytes, one after the other.
async fn answer(stream: &mut TcpStream, answers: &[&str]) -> String {
    let mut seen = String::new();
    for answer in answers {
        let mut room = [0; 1024];
        let length = stream.read(&mut room).await.unwrap();
        seen += &String::from_utf8_lossy(&room[..length]);
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    seen
}

#[test]
fn says_who_it_is_and_which_database_it_wants() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let redis = redis(port, serde_json::json!({ "username": "u", "password": "p", "database": 3 }));
        let served = async {
            let (mut stream, _) = server.accept().await.unwrap();
            answer(&mut stream, &["+OK\r\n+OK\r\n", ":7\r\n"]).await
        };
        let (reply, seen) = tokio::join!(redis.call(b"k", command(&["INCR", "k"])), served);
        assert_eq!(reply, Ok(Reply::Number(7)));
        let hello = [command(&["AUTH", "u", "p"]), command(&["SELECT", "3"]), command(&["INCR", "k"])].concat();
        assert_eq!(seen.as_bytes(), hello);
    });
}

#[test]
fn a_refused_password_is_told_without_it() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let redis = redis(server.local_addr().unwrap().port(), serde_json::json!({ "password": "secret" }));
        let served = async {
            let (mut stream, _) = server.accept().await.unwrap();
            answer(&mut stream, &["-WRONGPASS invalid\r\n"]).await
        };
        let (reply, _) = tokio::join!(redis.call(b"k", command(&["PING"])), served);
        assert_eq!(reply, Err(Failure::new("WRONGPASS invalid")));
    });
}

#[test]
fn commands_share_a_connection_and_one_that_was_closed_is_made_anew() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let redis = redis(server.local_addr().unwrap().port(), serde_json::json!({}));
        let calls = async {
            let both =
                tokio::join!(redis.call(b"k", command(&["INCR", "a"])), redis.call(b"k", command(&["INCR", "b"])));
            assert_eq!(both, (Ok(Reply::Number(1)), Ok(Reply::Number(2))));
        };
        let served = async {
            let (mut stream, _) = server.accept().await.unwrap();
            answer(&mut stream, &[":1\r\n:2\r\n"]).await;
        };
        tokio::join!(calls, served);
        let served = async {
            let (mut stream, _) = server.accept().await.unwrap();
            answer(&mut stream, &[":3\r\n"]).await;
        };
        let (reply, ()) = tokio::join!(redis.call(b"k", command(&["INCR", "c"])), served);
        assert_eq!(reply, Ok(Reply::Number(3)));
    });
}

#[test]
fn only_those_under_way_wait_for_a_redis_that_hangs_and_it_is_found_again() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let redis = redis(server.local_addr().unwrap().port(), serde_json::json!({ "timeout": 300 }));
        let start = Instant::now();
        let served = async { server.accept().await.unwrap().0 };
        let (reply, hanging) = tokio::join!(redis.call(b"k", command(&["INCR", "a"])), served);
        assert_eq!(reply, Err(Failure::new("timeout")));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let start = Instant::now();
        assert_eq!(redis.call(b"k", command(&["INCR", "a"])).await, Err(Failure::new("out of reach")));
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
        drop(hanging);
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                tokio::spawn(answer_all(stream));
            }
        });
        // The process itself asks again.
        let end = Instant::now() + Duration::from_secs(20);
        while redis.is_down() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(redis.call(b"k", command(&["INCR", "a"])).await, Ok(Reply::Number(9)));
    });
}

/// Answers pings, and counts to nine at once.
async fn answer_all(mut stream: TcpStream) {
    let mut room = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut room).await {
        let is_ping = room[..length].windows(4).any(|word| word == b"PING");
        let answer = if is_ping { "+PONG\r\n" } else { ":9\r\n" };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[test]
fn garbage_and_a_closed_port_are_failures() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let garbage = redis(port, serde_json::json!({}));
        let served = async {
            let (mut stream, _) = server.accept().await.unwrap();
            answer(&mut stream, &["HTTP/1.1 400 Bad Request\r\n\r\n"]).await;
        };
        let (reply, ()) = tokio::join!(garbage.call(b"k", command(&["PING"])), served);
        assert_eq!(reply, Err(Failure::new("the answer is none of Redis")));
        drop(server);
        let closed = redis(port, serde_json::json!({ "database": 1 }));
        let Err(Failure::Other(text)) = closed.call(b"k", command(&["PING"])).await else { panic!("it answers") };
        assert!(text.starts_with("connecting: "), "{text}");
    });
}

/// A server that answers all that comes over a connection with these bytes, one connection after another. Its port.
async fn always(answer: String) -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut room = [0; 1024];
                while let Ok(1..) = stream.read(&mut room).await {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_sentinel_that_names_yesterdays_master_is_not_the_last_word() {
    run(async {
        // To `ROLE` and to the command alike.
        let master = always("*1\r\n$6\r\nmaster\r\n".to_owned()).await;
        let replica = always("*1\r\n$5\r\nslave\r\n".to_owned()).await;
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let naming = |port: u16| {
            let port = port.to_string();
            always(format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len()))
        };
        let right = naming(master).await;
        for (what, first) in [
            ("a server that is gone", naming(closed).await),
            ("a server that is no master any more", naming(replica).await),
            ("a server that hangs", naming(hanging.local_addr().unwrap().port()).await),
            ("nobody", always("*-1\r\n".to_owned()).await),
        ] {
            let node = |port: u16| serde_json::json!({ "host": "127.0.0.1", "port": port });
            let config = serde_json::json!({
                "sentinel_master": what, "sentinel_nodes": [node(first), node(right)],
                "connect_timeout": 4000, "timeout": 20_000,
            });
            let redis = Redis::of(Settings::new(serde_json::from_value(config).unwrap()).unwrap());
            let reply = redis.call(b"k", command(&["GET", "k"])).await;
            assert_eq!(reply, Ok(Reply::Array(vec![Reply::Bulk(b"master".to_vec())])), "{what}");
        }
    });
}
