//! Tests of `queue`.

use super::*;
use crate::sender::{Datagrams, Lines};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::time::{Instant, advance};

/// Keeps the batches it gets, after it has failed a few times.
#[derive(Default)]
pub(super) struct Sink {
    pub(super) failures: Mutex<usize>,
    batches: Mutex<Vec<(u128, Vec<String>)>>,
    start: Mutex<Option<Instant>>,
}

impl Sink {
    pub(super) fn failing(times: usize) -> Arc<Self> {
        Arc::new(Self { failures: Mutex::new(times), ..Self::default() })
    }

    /// What was sent, and after how many milliseconds.
    pub(super) fn sent(&self) -> Vec<(u128, String)> {
        lock(&self.batches).iter().map(|(at, batch)| (*at, batch.join(","))).collect()
    }
}

impl Sender for Sink {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        Box::pin(async {
            let mut failures = lock(&self.failures);
            if *failures > 0 {
                *failures -= 1;
                return Err(Failure::new("not now".to_owned()));
            }
            let start = lock(&self.start).unwrap_or_else(Instant::now);
            lock(&self.batches)
                .push((start.elapsed().as_millis(), batch.iter().map(|e| String::from_utf8_lossy(e).into()).collect()));
            Ok(())
        })
    }
}

pub(super) fn parameters(json: schema::Value) -> Parameters {
    serde_json::from_value(json).unwrap()
}

/// Runs with a clock that a test moves, and that moves by itself where all wait.
fn run(test: impl AsyncFnOnce(Arc<Queues>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { test(Arc::new(Queues::on(Some(Handle::current())))).await });
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn started(failures: usize) -> Arc<Sink> {
    let sink = Sink::failing(failures);
    *lock(&sink.start) = Some(Instant::now());
    sink
}

#[test]
fn sends_full_batches_at_once_and_the_rest_after_the_delay() {
    run(async |queues| {
        let sink = started(0);
        let two = parameters(serde_json::json!({ "max_batch_size": 2, "max_coalescing_delay": 1.5 }));
        let queue = queues.named("q", "q", two, sink.clone());
        for entry in ["a", "b", "c"] {
            queue.push(entry);
        }
        settle().await;
        assert_eq!(sink.sent(), [(0, "a,b".to_owned())]);
        advance(Duration::from_millis(1400)).await;
        settle().await;
        assert_eq!(sink.sent().len(), 1);
        advance(Duration::from_millis(101)).await;
        settle().await;
        assert_eq!(sink.sent().last().unwrap().1, "c");
        assert_eq!(queue.unsent(), 0);
    });
}

#[test]
fn tries_again_after_twice_the_time_until_it_is_over() {
    run(async |queues| {
        let config = serde_json::json!({ "initial_retry_delay": 1, "max_retry_delay": 3, "max_retry_time": 60 });
        let sink = started(4);
        queues.named("q", "q", parameters(config), sink.clone()).push("a");
        tokio::time::sleep(Duration::from_secs(100)).await;
        // After 1, 2, 3 and again 3 seconds.
        assert_eq!(sink.sent(), [(9000, "a".to_owned())]);
        assert_eq!(queues.lost(), 0);

        let sink = started(usize::MAX);
        let config = serde_json::json!({ "max_retry_time": 2 });
        let queue = queues.named("lost", "lost", parameters(config), sink.clone());
        queue.push("b");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(queue.unsent(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((queue.unsent(), queues.lost()), (0, 1));
        *lock(&sink.failures) = 0;
        queue.push("c");
        settle().await;
        assert_eq!(sink.sent().last().unwrap().1, "c", "goes on after a loss");
    });
}

#[test]
fn drops_the_oldest_entries_where_entries_or_bytes_are_too_many() {
    let cases = [
        (serde_json::json!({ "max_entries": 2, "max_batch_size": 9 }), "c,dd", 2),
        (serde_json::json!({ "max_bytes": 4, "max_batch_size": 9 }), "b,c,dd", 1),
        (serde_json::json!({ "max_bytes": 1, "max_batch_size": 9 }), "c", 3),
    ];
    for (config, kept, lost) in cases {
        run(async |queues| {
            let sink = started(0);
            let queue = queues.named("q", "q", parameters(config), sink.clone());
            for entry in ["a", "b", "c", "dd"] {
                queue.push(entry);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(sink.sent().first().unwrap().1, kept);
            assert_eq!(queues.lost(), lost);
        });
    }
}

#[test]
fn without_a_limit_of_concurrency_entries_do_not_wait_for_each_other() {
    run(async |queues| {
        let config = serde_json::json!({ "concurrency_limit": -1, "max_batch_size": 9, "max_entries": 2,
            "initial_retry_delay": 1 });
        let sink = started(1);
        let queue = queues.named("q", "q", parameters(config), sink.clone());
        for entry in ["a", "b", "c"] {
            queue.push(entry);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(sink.sent(), [(0, "b".to_owned()), (1000, "a".to_owned())]);
        assert_eq!((queue.unsent(), queues.lost()), (0, 1));
    });
}

#[test]
fn a_change_of_configuration_loses_nothing() {
    run(async |queues| {
        let slow = parameters(serde_json::json!({ "max_batch_size": 9, "max_coalescing_delay": 100 }));
        let (old, new) = (started(0), started(0));
        let first = queues.named("q", "q", slow.clone(), old.clone());
        first.push("a");
        settle().await;
        drop(first);
        let second = queues.named("q", "q", parameters(serde_json::json!({ "max_batch_size": 2 })), new.clone());
        second.push("b");
        settle().await;
        assert_eq!((old.sent().len(), new.sent()), (0, vec![(0, "a,b".to_owned())]));

        let gone = queues.named("other", "other", slow, old.clone());
        gone.push("c");
        drop(gone);
        tokio::time::sleep(Duration::from_secs(101)).await;
        assert_eq!(old.sent().last().unwrap().1, "c", "sent although its instance is gone");
        drop(second);
        queues.named("x", "x", Parameters::default(), new);
        assert_eq!(lock(&queues.known).len(), 1, "queues that nobody has are forgotten");
    });
}

/// Sends nothing until it is told to.
struct Gate(Mutex<Receiver<()>>, SyncSender<()>);

impl Sender for Gate {
    fn send<'a>(&'a self, _batch: &'a Entries) -> Sending<'a> {
        Box::pin(async {
            let is_open = lock(&self.0).try_recv().is_ok();
            is_open.then_some(()).ok_or_else(|| Failure::new("closed".to_owned()))
        })
    }
}

#[test]
fn flushing_sends_what_waits_and_ends_in_time() {
    let queues = Arc::new(Queues::on(background::start("queues of a test")));
    let sink = Sink::failing(0);
    let slow = parameters(serde_json::json!({ "max_batch_size": 9, "max_coalescing_delay": 3600 }));
    let queue = queues.named("q", "q", slow.clone(), sink.clone());
    queue.push("a");
    queue.push("b");
    assert_eq!(queues.flush(Duration::from_secs(60)), 0);
    assert_eq!(sink.sent().len(), 1);

    let (open, gate) = sync_channel(1);
    let gate = Arc::new(Gate(Mutex::new(gate), open));
    let queue = queues.named("closed", "closed", slow, gate.clone());
    queue.push("c");
    assert_eq!(queues.flush(Duration::from_millis(50)), 1);
    gate.1.send(()).unwrap();
    assert_eq!(queues.flush(Duration::from_secs(60)), 0);
}

#[test]
fn a_retry_that_is_far_off_comes_at_once_where_the_queues_are_flushed() {
    let queues = Arc::new(Queues::on(background::start("queues of a test")));
    let sink = Sink::failing(1);
    let patient = parameters(serde_json::json!({ "initial_retry_delay": 3600, "max_retry_delay": 3600,
        "max_retry_time": 7200 }));
    queues.named("q", "q", patient, sink.clone()).push("a");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while *lock(&sink.failures) > 0 && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(queues.flush(Duration::from_secs(60)), 0);
    assert_eq!(sink.sent().first().unwrap().1, "a");
}

/// Takes what begins with `a`, wants what begins with `b` again, and refuses the rest for good.
#[derive(Default)]
struct Sorting(Mutex<Vec<String>>);

impl Sender for Sorting {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a> {
        let begins = |with: u8| batch.iter().filter(move |entry| entry.first() == Some(&with));
        let shown: Vec<_> = batch.iter().map(String::from_utf8_lossy).collect();
        lock(&self.0).push(shown.join(","));
        let left: Entries = begins(b'b').collect();
        let refused = batch.len() - left.len() - begins(b'a').count();
        let is_whole = left.is_empty() && refused == 0;
        Box::pin(std::future::ready(if is_whole { Ok(()) } else { Err(Failure::partial("some", left, refused)) }))
    }
}

#[test]
fn only_what_is_left_of_a_batch_is_tried_again() {
    // Entries, what is sent one batch after another, and how many are lost in the end.
    let cases: [(&[&str], &[&str], u64); 4] = [
        (&["a", "aa"], &["a,aa"], 0),
        (&["a", "b", "x", "bb"], &["a,b,x,bb", "b,bb", "b,bb"], 3),
        (&["x", "a"], &["x,a"], 1),
        (&["b"], &["b", "b", "b"], 1),
    ];
    for (entries, want, lost) in cases {
        run(async |queues| {
            let config = serde_json::json!({ "max_batch_size": 9, "max_coalescing_delay": 0, "initial_retry_delay": 1,
                "max_retry_time": 2 });
            let sink = Arc::new(Sorting::default());
            let queue = queues.named("q", "q", parameters(config), sink.clone());
            queue.push_all(entries);
            settle().await;
            let waiting = entries.iter().filter(|entry| entry.starts_with('b')).count();
            assert_eq!(queue.unsent(), waiting, "{entries:?}: what is sent or lost waits no longer");
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(*lock(&sink.0), want, "{entries:?}");
            assert_eq!((queue.unsent(), queues.lost()), (0, lost), "{entries:?}");
        });
    }
}

#[test]
fn losses_are_counted_by_plugin() {
    run(async |queues| {
        let full = || parameters(serde_json::json!({ "max_entries": 1, "max_batch_size": 9 }));
        for (name, entries) in [("tcp-log:1:secret", 3), ("tcp-log:2", 2), ("syslog:1", 1)] {
            let queue = queues.named(name, name, full(), started(0));
            (0..entries).for_each(|_| queue.push("e"));
        }
        assert_eq!(queues.dropped(), [("syslog".to_owned(), 0), ("tcp-log".to_owned(), 3)]);
    });
}

#[test]
fn flushing_sends_what_waits_for_each_kind_of_destination() {
    let wait = Duration::from_secs(60);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = std::env::temp_dir().join(format!("silverback-flushed-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let unix = UnixDatagram::bind(&path).unwrap();
    let host = "127.0.0.1";
    let senders: [(&str, Arc<dyn Sender>); 3] = [
        ("udp", Arc::new(Datagrams::udp(host, udp.local_addr().unwrap().port(), wait))),
        ("unix", Arc::new(Datagrams::unix(&path))),
        ("tcp", Arc::new(Lines::new(host, tcp.local_addr().unwrap().port(), wait, wait, None))),
    ];
    let queues = Arc::new(Queues::on(background::start("queues of a test")));
    for (name, sender) in senders {
        let slow = parameters(serde_json::json!({ "max_batch_size": 9, "max_coalescing_delay": 3600 }));
        let queue = queues.named(name, name, slow, sender);
        queue.push_all(["one", "two"]);
    }
    assert_eq!(queues.flush(wait), 0);
    let mut room = [0; 9];
    for want in ["one", "two"] {
        let got = [udp.recv(&mut room).map(|n| room[..n].to_vec()), unix.recv(&mut room).map(|n| room[..n].to_vec())];
        assert_eq!(got.map(Result::unwrap), [want.as_bytes(), want.as_bytes()]);
    }
    let (stream, _) = tcp.accept().unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(lines, ["one", "two"]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn deprecated_fields_count_unless_they_say_their_old_default() {
    let told = |size, delay| {
        let parameters = parameters(serde_json::json!({ "max_batch_size": 5, "max_coalescing_delay": 3 }));
        let parameters = parameters.with_deprecated(size, delay);
        (parameters.max_batch_size(), parameters.max_coalescing_delay().as_secs())
    };
    assert_eq!(told(None, None), (5, 3));
    assert_eq!(told(Some(1), Some(2.0)), (5, 3));
    assert_eq!(told(Some(7), Some(9.0)), (7, 9));
}
