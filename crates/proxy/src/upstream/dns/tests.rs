//! The resolver against a server of our own on loopback: order, search, hosts, lifetimes, and all that can go wrong.

mod fresh;
pub(in crate::upstream) mod server;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use server::{A, AAAA, Data, Reply, SRV, Server};
use tokio::task::JoinHandle;

use super::resolv_conf::ResolvConf;
use super::{Answers, Dns, Kind, ResolveError, Settings};

thread_local! {
    static LATER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The clock of a test's thread, which `pass` moves on.
fn clock() -> Instant {
    Instant::now() + LATER.get()
}

fn pass(seconds: u64) {
    LATER.set(LATER.get() + Duration::from_secs(seconds));
}

const HOSTS: &str = "10.9.9.9 filed filed.test # comment\n::9 filed\n#1.1.1.1 not\n127.9.9.9 localhost\n";
const RESOLV_CONF: &str = "search one.test two.test\noptions ndots:2 timeout:1 attempts:1\n";

/// The files of these tests in a folder' own, each written once.
static FILES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("silverback-dns-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [("hosts", HOSTS), ("resolv.conf", RESOLV_CONF), ("empty", "")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
});

fn settings(server: &Server) -> Settings {
    Settings {
        nameservers: vec![server.address],
        hosts_file: FILES.join("hosts"),
        resolv_conf: FILES.join("resolv.conf"),
        ..Settings::default()
    }
}

fn start(settings: Settings) -> (Dns, JoinHandle<()>) {
    let dns = Dns::with_clock(settings, clock).unwrap();
    let background = tokio::spawn(dns.clone().run());
    (dns, background)
}

fn ips(answers: &Answers) -> Vec<String> {
    answers.records.iter().map(|record| record.ip.to_string()).collect()
}

/// Lets the background task run until it has nothing to do but wait for the server.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to pass");
}

#[tokio::test]
async fn asks_for_the_types_in_their_order() {
    let server = Server::start();
    let v6 = Reply::Records(vec![Data::Ip("2001:db8::1".parse().unwrap())], 60);
    let srv = Reply::Records(vec![Data::Srv { priority: 1, weight: 5, port: 8080, target: "host.x.test" }], 60);
    server.set_ips("both.x.test", &["10.0.0.1"], 60);
    server.set("both.x.test", AAAA, v6);
    server.set_ips("all.x.test", &["10.0.0.2"], 60);
    server.set("all.x.test", SRV, srv);
    server.set_ips("host.x.test", &["10.0.0.3"], 60);
    use Kind::{A, Aaaa, Cname, Last, Srv};
    let cases: [(&[Kind], &str, &str, &str, &str); 6] = [
        (&[Last, Srv, A, Cname], "both.x.test", "A", "10.0.0.1", "SRV both.x.test,A both.x.test"),
        (&[Last, Srv, A, Cname], "all.x.test", "SRV", "10.0.0.3", "SRV all.x.test,A host.x.test"),
        (&[Aaaa, A], "both.x.test", "AAAA", "2001:db8::1", "AAAA both.x.test"),
        (&[Aaaa, A], "all.x.test", "A", "10.0.0.2", "AAAA all.x.test,A all.x.test"),
        (&[A], "all.x.test", "A", "10.0.0.2", "A all.x.test"),
        (&[Cname], "all.x.test", "A", "10.0.0.2", "A all.x.test"),
    ];
    for (order, name, kind, ip, asked) in cases {
        let (dns, _background) = start(Settings { order: order.to_vec(), ..settings(&server) });
        let answers = dns.resolve(name).await.unwrap();
        assert_eq!((answers.kind, ips(&answers).join(",").as_str()), (kind, ip), "{order:?} {name}");
        assert_eq!(server.asked().join(","), asked, "{order:?} {name}");
    }
}

#[tokio::test]
async fn asks_for_the_type_found_last_time_first() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(Settings { stale_ttl: Duration::ZERO, ..settings(&server) });
    dns.resolve("a.x.test").await.unwrap();
    assert_eq!(server.asked(), ["SRV a.x.test", "A a.x.test"]);
    pass(11);
    dns.resolve("a.x.test").await.unwrap();
    assert_eq!(server.asked(), ["A a.x.test"]);
}

#[tokio::test]
async fn follows_the_search_list_by_the_number_of_dots() {
    let server = Server::start();
    server.set_ips("short.two.test", &["10.0.0.1"], 60);
    server.set_ips("a.b.c", &["10.0.0.2"], 60);
    server.set_ips("deep.down.below.one.test", &["10.0.0.3"], 60);
    let cases: [(&str, Option<&str>, &[&str]); 5] = [
        ("short", Some("10.0.0.1"), &["short.one.test", "short.two.test"]),
        ("a.b.c", Some("10.0.0.2"), &["a.b.c"]),
        ("deep.down.below", Some("10.0.0.3"), &["deep.down.below", "deep.down.below.one.test"]),
        ("short.", None, &["short"]),
        ("no.one", None, &["no.one.one.test", "no.one.two.test", "no.one"]),
    ];
    for (name, ip, asked) in cases {
        let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
        let answers = dns.resolve(name).await;
        assert_eq!(answers.map(|answers| ips(&answers)).ok(), ip.map(|ip| vec![ip.to_owned()]), "{name}");
        let asked: Vec<String> = asked.iter().map(|name| format!("A {name}")).collect();
        assert_eq!(server.asked(), asked, "{name}");
    }
}

#[tokio::test]
async fn names_that_are_at_hand_need_no_server() {
    let server = Server::start();
    let (dns, _background) = start(settings(&server));
    let cases = [
        ("127.0.0.1", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
        ("[2001:db8::7]", "[2001:db8::7]:80"),
        ("filed", "10.9.9.9:80"),
        ("FILED.test", "10.9.9.9:80"),
        ("localhost", "127.0.0.1:80"),
        ("app.localhost", "127.0.0.1:80"),
    ];
    for (name, address) in cases {
        let at_hand = dns.peek(name, clock()).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(at_hand.next(80).0, address.parse().unwrap(), "{name}");
        assert_eq!(dns.resolve(name).await.unwrap().next(80).0, address.parse().unwrap(), "{name}");
    }
    assert!(dns.peek("elsewhere.x.test", clock()).is_none());
    assert_eq!((server.asked(), dns.cached_names()), (vec![], 0));

    let (dns, _background) = start(Settings { order: vec![Kind::Aaaa, Kind::A], ..settings(&server) });
    assert_eq!(dns.resolve("localhost").await.unwrap().next(80).0, "[::1]:80".parse().unwrap());
    assert_eq!(dns.resolve("filed").await.unwrap().next(80).0, "[::9]:80".parse().unwrap());
    assert_eq!(dns.resolve("filed.test").await.unwrap().next(80).0, "10.9.9.9:80".parse().unwrap());
}

#[tokio::test]
async fn tells_failures_in_kongs_words() {
    let server = Server::start();
    let cases = [
        ("gone.x.test", Reply::NxDomain, "dns server error: 3 name error", true),
        ("empty.x.test", Reply::Empty, "dns client error: 101 empty record received", true),
        ("failing.x.test", Reply::Code(2), "dns server error: 2 server failure", false),
        ("refused.x.test", Reply::Code(5), "dns server error: 5 refused", false),
        ("silent.x.test", Reply::Silence, "dns client error: timeout: no answer from any name server", false),
        ("garbage.x.test", Reply::Garbage, "dns client error: timeout: no answer from any name server", false),
    ];
    for (name, reply, text, is_not_found) in cases {
        server.set(name, A, reply);
        let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
        let error = dns.resolve(name).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_not_found()), (text, is_not_found), "{name}");
    }
    let (dns, _background) = start(settings(&server));
    for name in
        ["", "a..b", &"x".repeat(300), "label-that-is-far-too-long-for-any-name-server-to-accept-0123456789.test"]
    {
        assert_eq!(dns.resolve(name).await.unwrap_err(), ResolveError::InvalidName, "{name}");
    }
}

/// A server that cannot be reached for one candidate must not make the name look as if it did not exist.
#[tokio::test]
async fn a_failure_outweighs_an_unknown_name() {
    let server = Server::start();
    server.set("name.one.test", A, Reply::Code(2));
    let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    let error = dns.resolve("name").await.unwrap_err();
    assert_eq!(error, ResolveError::Server { code: 2, text: "server failure" });
}

#[tokio::test]
async fn remembers_failures_for_their_time() {
    for (reply, lasts) in [(Reply::NxDomain, 30), (Reply::Code(2), 1)] {
        let server = Server::start();
        server.set("a.x.test", A, reply);
        let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
        let first = dns.resolve("a.x.test").await.unwrap_err();
        assert!(!server.asked().is_empty());
        pass(lasts - 1);
        assert_eq!(dns.resolve("a.x.test").await.unwrap_err(), first);
        assert_eq!(server.asked(), [""; 0]);
        pass(1);
        server.set_ips("a.x.test", &["10.0.0.1"], 60);
        assert_eq!(ips(&dns.resolve("a.x.test").await.unwrap()), ["10.0.0.1"]);
    }
}

#[tokio::test]
async fn an_expired_answer_serves_while_a_new_one_is_on_its_way() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    dns.resolve("a.x.test").await.unwrap();
    server.asked();
    server.set_ips("a.x.test", &["10.0.0.2"], 10);
    assert_eq!(ips(&dns.peek("a.x.test", clock()).unwrap()), ["10.0.0.1"]);
    assert_eq!(server.asked(), [""; 0]);
    pass(11);
    for _ in 0..50 {
        assert_eq!(ips(&dns.peek("A.x.test", clock()).unwrap()), ["10.0.0.1"]);
    }
    until(|| ips(&dns.peek("a.x.test", clock()).unwrap()) == ["10.0.0.2"]).await;
    assert_eq!(server.asked(), ["A a.x.test"]);
}

#[tokio::test]
async fn an_expired_answer_outlasts_failing_servers_but_not_for_ever() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    dns.resolve("a.x.test").await.unwrap();
    server.asked();
    server.set("a.x.test", A, Reply::Code(2));
    pass(11);
    for _ in 0..3 {
        until(|| {
            // It is tried again once error_ttl has passed.
            pass(2);
            assert_eq!(ips(&dns.peek("a.x.test", clock()).unwrap()), ["10.0.0.1"]);
            !server.asked().is_empty()
        })
        .await;
    }
    pass(3600);
    let error = dns.resolve("a.x.test").await.unwrap_err();
    assert_eq!(error, ResolveError::Server { code: 2, text: "server failure" });
}

#[tokio::test]
async fn an_expired_answer_does_not_stand_in_for_a_name_that_is_gone() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 10);
    let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    dns.resolve("a.x.test").await.unwrap();
    server.set("a.x.test", A, Reply::NxDomain);
    pass(11);
    assert_eq!(ips(&dns.resolve("a.x.test").await.unwrap()), ["10.0.0.1"]);
    until(|| dns.peek("a.x.test", clock()).is_none()).await;
    assert_eq!(dns.resolve("a.x.test").await.unwrap_err(), ResolveError::NameError);
}

#[tokio::test]
async fn many_who_ask_share_one_query() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 60);
    let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let dns = dns.clone();
            tokio::spawn(async move { dns.resolve("a.x.test").await.map(|answers| ips(&answers)) })
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), Ok(vec!["10.0.0.1".to_owned()]));
    }
    assert_eq!(server.asked(), ["A a.x.test"]);
}

#[tokio::test]
async fn lifetimes_come_from_the_records_unless_set() {
    // The time to live, valid_ttl, and whether the answer still serves after 5 seconds without a query.
    for (ttl, valid_ttl, is_cached) in [(60, None, true), (2, None, false), (2, Some(30), true), (60, Some(3), false)] {
        let server = Server::start();
        server.set_ips("a.x.test", &["10.0.0.1"], ttl);
        let (dns, _background) = start(Settings {
            order: vec![Kind::A],
            valid_ttl: valid_ttl.map(Duration::from_secs),
            stale_ttl: Duration::ZERO,
            ..settings(&server)
        });
        dns.resolve("a.x.test").await.unwrap();
        pass(5);
        assert_eq!(dns.peek("a.x.test", clock()).is_some(), is_cached, "{ttl} {valid_ttl:?}");
    }
}

#[tokio::test]
async fn a_time_to_live_of_zero_serves_only_who_waits() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1", "10.0.0.2"], 0);
    let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    let mut served = Vec::new();
    for _ in 0..4 {
        served.push(dns.resolve("a.x.test").await.unwrap().next(80).0.ip().to_string());
        assert!(dns.peek("a.x.test", clock()).is_none());
    }
    assert_eq!(served, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(server.asked().len(), 4);
    server.set("a.x.test", A, Reply::Code(2));
    assert_eq!(dns.resolve("a.x.test").await.unwrap().records.len(), 2, "the last answer while the server fails");
}

#[tokio::test]
async fn takes_srv_records_of_the_best_priority_by_weight() {
    let server = Server::start();
    let srv = |priority, weight, port, target| Data::Srv { priority, weight, port, target };
    let records = vec![
        srv(2, 100, 1, "three.x.test"),
        srv(1, 3, 8001, "one.x.test"),
        srv(1, 1, 8002, "two.x.test"),
        srv(1, 50, 8003, "gone.x.test"),
        srv(1, 0, 0, "one.x.test"),
    ];
    server.set("_http.x.test", SRV, Reply::Records(records, 60));
    server.set_ips("one.x.test", &["10.0.0.1"], 20);
    server.set_ips("two.x.test", &["10.0.0.2"], 90);
    let (dns, _background) = start(settings(&server));
    let answers = dns.resolve("_http.x.test").await.unwrap();
    let mut counts = std::collections::BTreeMap::<(SocketAddr, String), u32>::new();
    for _ in 0..50 {
        let (address, name) = answers.next(80);
        *counts.entry((address, name.unwrap().to_string())).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|((address, name), count)| format!("{address} {name} {count}")).collect();
    assert_eq!(counts, ["10.0.0.1:80 one.x.test 10", "10.0.0.1:8001 one.x.test 30", "10.0.0.2:8002 two.x.test 10"]);
    // The shortest time to live of all that took part.
    assert!(answers.valid_until.unwrap() <= clock() + Duration::from_secs(20));
}

/// Two addresses of one SRV target share the target's weight.
#[tokio::test]
async fn an_srv_targets_addresses_share_its_weight() {
    let server = Server::start();
    let srv = |target| Data::Srv { priority: 1, weight: 10, port: 80, target };
    server.set("_http.x.test", SRV, Reply::Records(vec![srv("one.x.test"), srv("two.x.test")], 60));
    server.set_ips("one.x.test", &["10.0.0.1"], 60);
    server.set_ips("two.x.test", &["10.0.0.2", "10.0.0.3"], 60);
    let (dns, _background) = start(settings(&server));
    let answers = dns.resolve("_http.x.test").await.unwrap();
    let weights: Vec<_> = answers.records.iter().map(|record| record.weight.unwrap()).collect();
    assert_eq!(weights, [20, 10, 10]);
}

#[tokio::test]
async fn takes_its_turn_through_the_addresses() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 60);
    let (dns, _background) = start(settings(&server));
    let answers = dns.resolve("a.x.test").await.unwrap();
    let served: Vec<_> = (0..6).map(|_| answers.next(81).0.to_string()).collect();
    let turn = ["10.0.0.1:81", "10.0.0.2:81", "10.0.0.3:81"];
    assert_eq!(served, [turn, turn].concat());
}

#[tokio::test]
async fn reads_what_servers_really_send() {
    let server = Server::start();
    let ip = |ip: &str| Data::Ip(ip.parse().unwrap());
    let alias = Data::Alias("other.x.test", "10.0.0.4".parse().unwrap());
    let many: Vec<Data> = (0..200).map(|n| Data::Ip([10, 1, 0, n].into())).collect();
    let cases = [
        ("alias.x.test", Reply::Records(vec![alias], 100), 1, 50),
        ("foreign.x.test", Reply::ForeignFirst(vec![ip("10.0.0.5")], 60), 1, 60),
        ("large.x.test", Reply::Truncated(many, 60), 200, 60),
        ("twice.x.test", Reply::Records(vec![ip("10.0.0.6"), ip("10.0.0.6")], 60), 1, 60),
    ];
    for (name, reply, count, ttl) in cases {
        server.set(name, A, reply);
        let (dns, _background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
        let start = clock();
        let answers = dns.resolve(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answers.records.len(), count, "{name}");
        assert!(!ips(&answers).contains(&"6.6.6.6".to_owned()), "{name}");
        let lasts = answers.valid_until.unwrap() - start;
        assert!(lasts <= Duration::from_secs(ttl + 1) && lasts >= Duration::from_secs(ttl - 1), "{name}: {lasts:?}");
    }
    assert!(server.asked().contains(&"A large.x.test tcp".to_owned()));
}

#[tokio::test]
async fn goes_to_the_next_server_when_one_is_dead() {
    let (dead, server) = (Server::start(), Server::start());
    dead.set("a.x.test", A, Reply::Silence);
    server.set_ips("a.x.test", &["10.0.0.1"], 60);
    let nameservers = vec![dead.address, server.address];
    let (dns, _background) = start(Settings { order: vec![Kind::A], nameservers, ..settings(&server) });
    assert_eq!(ips(&dns.resolve("a.x.test").await.unwrap()), ["10.0.0.1"]);
}

#[tokio::test]
async fn keeps_no_more_names_than_it_may() {
    for size in [1, 40, 1000] {
        let server = Server::start();
        let (dns, _background) = start(Settings {
            order: vec![Kind::A],
            cache_size: size,
            resolv_conf: FILES.join("empty"),
            ..settings(&server)
        });
        for number in 0..200 {
            let name = format!("n{number}.x.test");
            server.set_ips(&name, &["10.0.0.1"], 60);
            dns.resolve(&name).await.unwrap();
        }
        assert!(dns.cached_names() <= size, "{} of {size}", dns.cached_names());
        assert!(dns.peek("n199.x.test", clock()).is_some());
    }
}

#[tokio::test]
async fn the_background_task_may_die_and_come_back() {
    let server = Server::start();
    server.set("a.x.test", A, Reply::Silence);
    let (dns, background) = start(Settings { order: vec![Kind::A], ..settings(&server) });
    let waiting = tokio::spawn({
        let dns = dns.clone();
        async move { dns.resolve("a.x.test").await.map(|answers| ips(&answers)) }
    });
    until(|| !server.asked().is_empty()).await;
    background.abort();
    assert_eq!(waiting.await.unwrap(), Err(ResolveError::Unavailable));
    server.set_ips("a.x.test", &["10.0.0.1"], 60);
    let _background = tokio::spawn(dns.clone().run());
    assert_eq!(ips(&dns.resolve("a.x.test").await.unwrap()), ["10.0.0.1"]);
}

/// As in the gateway: workers on runtimes of their own, the queries on another thread's.
#[test]
fn serves_workers_on_other_threads() {
    let server = Server::start();
    server.set_ips("a.x.test", &["10.0.0.1"], 60);
    let dns = Dns::new(Settings { order: vec![Kind::A], ..settings(&server) }).unwrap();
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let background = std::thread::spawn({
        let dns = dns.clone();
        move || {
            runtime().block_on(async move {
                tokio::spawn(dns.run());
                stopped.await
            })
        }
    });
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let dns = dns.clone();
            std::thread::spawn(move || runtime().block_on(dns.resolve("a.x.test")).map(|answers| ips(&answers)))
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), Ok(vec!["10.0.0.1".to_owned()]));
    }
    assert_eq!(server.asked(), ["A a.x.test"]);
    stop.send(()).unwrap();
    background.join().unwrap().unwrap();
}

#[test]
fn reads_resolv_conf_and_its_environment() {
    let text = "# comment\nnameserver 10.0.0.1 ; local\nnameserver [::1]:5353\nnameserver nonsense\nnameserver fe80::1\n\
        domain old.test\nsearch a.test b.test. -- .\noptions ndots:3 timeout:4 attempts:2 rotate edns0\n";
    let conf = ResolvConf::parse(text, None, None);
    let servers: Vec<String> = conf.nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.1:53", "[::1]:5353", "[fe80::1]:53"]);
    assert_eq!((conf.ndots, conf.timeout.as_secs(), conf.attempts, conf.rotates), (3, 4, 2, true));
    assert_eq!(conf.candidates("x"), ["x.a.test.", "x.b.test.", "x."]);

    let conf = ResolvConf::parse(text, Some("c.test d.test"), Some("ndots:0 timeout:0 attempts:99"));
    assert_eq!((conf.ndots, conf.timeout.as_secs(), conf.attempts), (0, 4, 5));
    assert_eq!(conf.candidates("x"), ["x.", "x.c.test.", "x.d.test."]);

    let conf = ResolvConf::parse("", None, None);
    assert_eq!((conf.nameservers, conf.ndots), (vec![SocketAddr::from(([127, 0, 0, 1], 53))], 1));
}

#[test]
fn knows_the_types_of_both_clients() {
    let order = |names: &str| names.split(',').filter_map(Kind::from_name).collect::<Vec<_>>();
    assert_eq!(order("LAST,SRV,a, CNAME,TXT"), [Kind::Last, Kind::Srv, Kind::A, Kind::Cname]);
    assert_eq!(Settings::family_order(&order("AAAA,A,SRV")), [Kind::Srv, Kind::A, Kind::Aaaa]);
}
