//! What keeps answers fresh without anybody asking, what is counted, and retries at other addresses.

use super::server::{A, Data, Reply, Server};
use super::{FILES, clock, ips, pass, settings, start, until};
use crate::upstream::dns::{Answers, Kind, ResolveError, Settings};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

fn only_a(server: &Server) -> Settings {
    Settings { order: vec![Kind::A], ..settings(server) }
}

#[tokio::test]
async fn a_name_in_use_is_asked_for_again_before_anybody_needs_it() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(only_a(&server));
    dns.resolve("a.x.test").await.unwrap();
    server.set_ips("a.x.test", &["10.0.0.2"], 10);
    server.asked();
    pass(11);
    until(|| !server.asked().is_empty()).await;
    until(|| dns.figures().succeeded == 2).await;
    assert_eq!(ips(&dns.peek("a.x.test", clock()).unwrap()), ["10.0.0.2"]);
}

#[tokio::test]
async fn a_name_that_nobody_uses_any_more_is_left_alone() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(only_a(&server));
    dns.resolve("a.x.test").await.unwrap();
    server.asked();
    pass(72);
    // From here on nothing is asked, so that the clock of the background task may run ahead.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn the_hosts_file_is_read_again_when_it_has_changed() {
    let server = Server::start();
    let path = FILES.join("changing");
    std::fs::write(&path, "10.0.0.1 a.test\n").unwrap();
    let (dns, _background) = start(Settings { hosts_file: path.clone(), ..only_a(&server) });
    let known = |name: &str| dns.peek(name, clock()).map(|answers| ips(&answers).join(","));
    assert_eq!((known("a.test").as_deref(), known("b.test")), (Some("10.0.0.1"), None));
    let before = dns.generation();
    std::fs::write(&path, "10.0.0.22 a.test\n10.0.0.3 b.test\n").unwrap();
    until(|| dns.generation() != before).await;
    assert_eq!((known("a.test").as_deref(), known("b.test").as_deref()), (Some("10.0.0.22"), Some("10.0.0.3")));
    std::fs::remove_file(&path).unwrap();
    until(|| known("a.test").is_none()).await;
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn a_renewal_waits_for_the_new_answer_and_falls_back_to_the_old_one() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(only_a(&server));
    assert_eq!(ips(&dns.renew("a.x.test").await.unwrap()), ["10.0.0.1"]);
    server.set_ips("a.x.test", &["10.0.0.2"], 10);
    assert_eq!(ips(&dns.renew("a.x.test").await.unwrap()), ["10.0.0.1"], "it is still in force");
    pass(11);
    assert_eq!(ips(&dns.renew("a.x.test").await.unwrap()), ["10.0.0.2"]);
    server.set("a.x.test", A, Reply::Code(2));
    pass(11);
    for _ in 0..2 {
        assert_eq!(ips(&dns.renew("a.x.test").await.unwrap()), ["10.0.0.2"], "the servers fail");
    }
    server.set("a.x.test", A, Reply::NxDomain);
    pass(2);
    assert_eq!(dns.renew("a.x.test").await.unwrap_err(), ResolveError::NameError);
}

#[tokio::test]
async fn what_is_counted_is_shown_by_name_and_type() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    server.set("broken.x.test", A, Reply::Code(2));
    let (dns, _background) = start(Settings { order: vec![Kind::Srv, Kind::A], ..settings(&server) });
    for _ in 0..3 {
        dns.resolve("a.x.test").await.unwrap();
    }
    for _ in 0..2 {
        dns.resolve("broken.x.test").await.unwrap_err();
    }
    let mut stats = dns.stats();
    for queries in stats.values_mut() {
        queries.as_object_mut().unwrap().remove("query_last_time");
    }
    let expected = json!({
        "a.x.test:all": { "runs": 3, "hit_lru": 2, "miss": 1 },
        "a.x.test:A": { "query": 1, "query_succ": 1 },
        "a.x.test:SRV": { "query": 1, "query_fail:empty record received": 1 },
        "broken.x.test:all": { "runs": 2, "miss": 1, "fail": 1 },
        // The search list has two more candidates for it.
        "broken.x.test:A": { "query": 3, "query_fail:name error": 2, "query_fail:server error": 1 },
        "broken.x.test:SRV": { "query": 3, "query_fail:name error": 2, "query_fail:empty record received": 1 },
    });
    assert_eq!(serde_json::Value::Object(stats), expected);
    let figures = dns.figures();
    assert_eq!((figures.succeeded, figures.unknown, figures.failed, figures.names), (1, 0, 1, 2));
    pass(11);
    dns.resolve("a.x.test").await.unwrap();
    assert_eq!(dns.stats()["a.x.test:all"]["stale"], 1);
}

#[tokio::test]
async fn of_a_huge_reply_a_part_is_kept() {
    let server = Server::start();
    let ips = (0..3000_u32).map(|n| Data::Ip(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into())).collect();
    server.set("huge.x.test", A, Reply::Truncated(ips, 60));
    let (dns, _background) = start(only_a(&server));
    assert_eq!(dns.resolve("huge.x.test").await.unwrap().records.len(), 1024);
}

#[test]
fn a_retry_goes_to_another_address_while_there_is_one() {
    let answers = Answers::fixed(Kind::A, [[10, 0, 0, 1].into(), [10, 0, 0, 2].into(), [10, 0, 0, 3].into()]).unwrap();
    for _ in 0..5 {
        let mut tried: Vec<SocketAddr> = Vec::new();
        for _ in 0..3 {
            let next = answers.next_but(80, &tried);
            assert!(!tried.contains(&next), "{next} {tried:?}");
            tried.push(next);
        }
        assert!(tried.contains(&answers.next_but(80, &tried)), "all were tried");
    }
}
