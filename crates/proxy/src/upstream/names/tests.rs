//! Names of targets against a DNS server of our own.

use super::super::dns::ResolveError;
use super::super::dns::tests::server::{A, Reply, Server};
use super::super::tests::{Node, until};
use super::{FIRST_RETRY, Name, PACE, RETRY};
use entities::upstream::ActiveHealthchecks;
use std::time::{Duration, Instant};

fn start(node: &Node) {
    tokio::spawn(node.upstreams.dns().clone().run());
    tokio::spawn(node.upstreams.clone().keep());
}

#[tokio::test]
async fn a_name_that_nobody_answers_for_holds_up_no_other() {
    let server = Server::start();
    let mut node = Node::on(&server);
    let id = node.upstream(1, ActiveHealthchecks::default());
    for slow in 0..8 {
        let name = format!("slow{slow}.test");
        server.set(&name, A, Reply::Silence);
        node.target(id, &format!("{name}:80"), 100);
    }
    server.set_ips("quick.test", &["10.0.0.2", "10.0.0.1"], 60);
    node.target(id, "quick.test:80", 100);
    start(&node);
    node.apply();
    until(|| node.ips(id) == ["10.0.0.1", "10.0.0.2"]).await;
}

#[tokio::test]
async fn the_addresses_of_a_name_change_with_its_answer() {
    let server = Server::start();
    let mut node = Node::on(&server);
    let id = node.upstream(1, ActiveHealthchecks::default());
    let target = node.target(id, "name.test:80", 100);
    server.set_ips("name.test", &["10.0.0.1"], 0);
    let before = Instant::now();
    start(&node);
    node.apply();
    until(|| node.ips(id) == ["10.0.0.1"]).await;
    let upstream = node.upstreams.by_id(id).unwrap();
    let due = upstream.names.lock().unwrap().get(&target).unwrap().due;
    assert!(due.is_some_and(|due| due >= before + PACE), "an answer without a time to live is not asked for at once");
    server.set_ips("name.test", &["10.0.0.7"], 0);
    until(|| node.ips(id) == ["10.0.0.7"]).await;
}

#[test]
fn a_failed_look_up_is_tried_again_soon_and_then_now_and_then() {
    let now = Instant::now();
    let (mut name, _) = Name::new("gone.test", None, now);
    assert_eq!(name.due, Some(now), "a new name is looked up at once");
    for after in [FIRST_RETRY, RETRY, RETRY] {
        name.looked_up(&Err(ResolveError::NameError), now);
        assert_eq!(name.due, Some(now + after));
    }
    assert!(RETRY == Duration::from_secs(30));
}
