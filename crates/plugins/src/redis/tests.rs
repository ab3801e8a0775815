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
        ("*2\r\n$1\r\na\r\n*2\r\n:1\r\n", Ok(None)),
        ("*-2\r\n", Err(resp::Garbage)),
        ("$-2\r\n", Err(resp::Garbage)),
        ("$9223372036854775807\r\n", Err(resp::Garbage)),
        (":99999999999999999999\r\n", Err(resp::Garbage)),
        (":\r\n", Err(resp::Garbage)),
        ("\r\n", Err(resp::Garbage)),
        ("%1\r\n+a\r\n:1\r\n", Err(resp::Garbage)),
        ("+\r\n", Ok(Some((Reply::Status(String::new()), 3)))),
    ] {
        assert_eq!(resp::parse(bytes.as_bytes()), want, "{bytes:?}");
        // Piece by piece, no byte is looked at twice; what is too deep shows when all is there.
        let mut progress = resp::Progress::new();
        let mut whole = (0..=bytes.len()).map(|length| progress.is_whole(&bytes.as_bytes()[..length]));
        match (whole.find(|whole| *whole != Ok(false)).transpose(), want) {
            (Ok(None), Ok(None)) | (Ok(Some(true)), Ok(Some(_)) | Err(resp::Garbage)) => {}
            (Err(resp::Garbage), Err(resp::Garbage)) => {}
            (whole, want) => panic!("{bytes:?}: {whole:?} and {want:?}"),
        }
    }
}

#[test]
fn a_reply_has_a_bounded_number_of_parts() {
    let empty = format!("*16384\r\n{}", "*0\r\n".repeat(16384));
    for (count, want) in [(10, Ok(false)), (17, Err(resp::Garbage))] {
        let bytes = format!("*17\r\n{}", empty.repeat(count));
        let mut progress = resp::Progress::new();
        assert_eq!(progress.is_whole(bytes.as_bytes()), want, "{count}");
    }
    let mut progress = resp::Progress::new();
    assert_eq!(progress.is_whole(&[b'+'; 70_000]), Err(resp::Garbage));
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

#[test]
fn what_is_no_answer_of_a_script_is_a_failure() {
    static ONE: Script = Script::new("return {1}");
    run(async {
        let mut call = ScriptCall::default();
        call.keys.push(b"k".to_vec());
        for (answer, want) in [
            ("*1\r\n:1\r\n", None),
            ("+OK\r\n", Some("OK")),
            (":1\r\n", Some("Number(1)")),
            ("$1\r\n1\r\n", Some("Bulk([49])")),
            ("$-1\r\n", Some("Nil")),
            ("*-1\r\n", Some("Nil")),
            ("*0\r\n", Some("an answer that is none of the script's")),
            ("*2\r\n:1\r\n:1\r\n", Some("an answer that is none of the script's")),
            ("*1\r\n$1\r\n1\r\n", Some("an answer that is none of the script's")),
            ("*1\r\n*1\r\n:1\r\n", Some("an answer that is none of the script's")),
            ("-ERR x\r\n", Some("ERR x")),
            ("-NOSCRIPT x\r\n", Some("NOSCRIPT x")),
            ("-MOVED 1 127.0.0.1:1\r\n", Some("MOVED 1 127.0.0.1:1")),
            ("-READONLY x\r\n", Some("READONLY x")),
            ("*1\r\n:1.5\r\n", Some("the answer is none of Redis")),
            ("*1\r\n:1\r\n:2\r\n", None),
        ] {
            let redis = redis(always(answer.to_owned()).await, serde_json::json!({}));
            let got = ONE.run(&redis, &call, 1).await;
            assert_eq!(got, want.map_or(Ok(vec![1]), |text| Err(Failure::new(text))), "{answer:?}");
        }
    });
}

#[test]
fn a_server_that_closes_each_connection_is_not_tried_with_each_command() {
    for answer in ["", "*1\r\n:", "$5\r\nab"] {
        run(async {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let redis = redis(server.local_addr().unwrap().port(), serde_json::json!({}));
            let served = async {
                for _ in 0..2 {
                    let (mut stream, _) = server.accept().await.unwrap();
                    let _ = stream.read(&mut [0; 1024]).await;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            };
            let (reply, ()) = tokio::join!(redis.call(b"k", command(&["INCR", "k"])), served);
            assert_eq!(reply, Err(Failure::Closed), "{answer:?}");
            for _ in 0..100 {
                assert_eq!(redis.call(b"k", command(&["INCR", "k"])).await, Err(Failure::new("out of reach")));
            }
        });
    }
}

#[test]
fn connections_of_before_a_failure_are_not_used_again() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = ("127.0.0.1".to_owned(), server.local_addr().unwrap().port());
        let config = serde_json::json!({ "host": "", "timeout": 10_000 });
        let settings = Settings::new(serde_json::from_value(config).unwrap()).unwrap();
        let node = Node::of(settings::Place::At(at), settings.access);
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                count.fetch_add(1, Relaxed);
                tokio::spawn(answer_all(stream));
            }
        });
        let call = || node.call(command(&["INCR", "k"]));
        assert_eq!([call().await, call().await], [Ok(Reply::Number(9)), Ok(Reply::Number(9))]);
        assert_eq!(accepted.load(Relaxed), 1);
        node.fail(&Failure::new("another thread's command timed out"));
        assert_eq!(call().await, Err(Failure::new("out of reach")));
        let end = Instant::now() + Duration::from_secs(20);
        while node.is_down() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The one that was asked whether it is there, and one for commands.
        assert_eq!(call().await, Ok(Reply::Number(9)));
        assert_eq!(accepted.load(Relaxed), 3);
    });
}

#[test]
fn a_cluster_whose_nodes_send_commands_around_is_a_failure_after_so_many_times() {
    run(async {
        for kind in ["MOVED", "ASK"] {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = server.local_addr().unwrap().port();
            let asked = Arc::new(AtomicU64::new(0));
            let count = asked.clone();
            tokio::spawn(async move {
                // A thread has one connection to a node; that of the background learns who serves what.
                while let Ok((mut stream, _)) = server.accept().await {
                    let count = count.clone();
                    tokio::spawn(async move {
                        let (mut room, moved) = ([0; 1024], format!("-{kind} 1 127.0.0.1:{port}\r\n"));
                        while let Ok(length @ 1..) = stream.read(&mut room).await {
                            let seen = String::from_utf8_lossy(&room[..length]).into_owned();
                            count.fetch_add(seen.matches("INCR").count() as u64, Relaxed);
                            let answer =
                                if seen.contains("ASKING") { format!("+OK\r\n{moved}") } else { moved.clone() };
                            let _ = stream.write_all(answer.as_bytes()).await;
                        }
                    });
                }
            });
            let seeds = serde_json::json!([{ "ip": "127.0.0.1", "port": port }]);
            let redis = redis(1, serde_json::json!({ "cluster_nodes": seeds, "cluster_max_redirections": 3 }));
            let reply = redis.call(b"k", command(&["INCR", "k"])).await;
            assert_eq!(reply, Err(Failure::new("sent on too often")), "{kind}");
            assert_eq!(asked.load(Relaxed), 4, "{kind}");
        }
    });
}

#[test]
fn a_sentinel_that_answers_garbage_is_passed_over_and_alone_is_a_failure() {
    run(async {
        let master = always("*1\r\n$6\r\nmaster\r\n".to_owned()).await.to_string();
        let right = always(format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{master}\r\n", master.len())).await;
        for (at, garbage) in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "-ERR unknown command\r\n",
            "+OK\r\n",
            ":1\r\n",
            "$-1\r\n",
            "*0\r\n",
            "*1\r\n$9\r\n127.0.0.1\r\n",
            "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n99999\r\n",
            "*2\r\n$9\r\n127.0.0.1\r\n$2\r\n-1\r\n",
            "*2\r\n$-1\r\n$4\r\n6379\r\n",
            "*2\r\n*0\r\n*0\r\n",
            "*2\r\n$3\r\n\0\n\0\r\n$4\r\n6379\r\n",
            "*16384\r\n*16384\r\n:1\r\n*17000\r\n",
            "$99999999\r\n",
        ]
        .into_iter()
        .enumerate()
        {
            let wrong = always(garbage.to_owned()).await;
            let node = |port: u16| serde_json::json!({ "host": "127.0.0.1", "port": port });
            for (role, nodes, is_found) in [
                ("master", vec![node(wrong), node(right)], true),
                ("master", vec![node(wrong)], false),
                ("slave", vec![node(wrong)], false),
            ] {
                let config = serde_json::json!({
                    "sentinel_master": format!("{at}"), "sentinel_nodes": nodes, "sentinel_role": role, "timeout": 20_000,
                });
                let redis = Redis::of(Settings::new(serde_json::from_value(config).unwrap()).unwrap());
                let reply = redis.call(b"k", command(&["GET", "k"])).await;
                assert_eq!(reply.is_ok(), is_found, "{role}, {garbage:?}: {reply:?}");
            }
        }
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
