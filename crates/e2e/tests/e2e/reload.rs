//! What happens to connections when the configuration, or the worker process, is replaced.

use crate::client::{Client, get};
use crate::gateway::{Gateway, eventually, signal};
use crate::program::said;
use crate::upstream::Upstream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn no_request_fails_during_reloads() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Also where this thread fails: the scope waits for the clients.
        let _end = End(&done);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::open(gateway.ports.proxy);
                while !done.load(Ordering::Relaxed) {
                    // A failure here is a dropped connection: the unwrap in `get` tells which.
                    let answer = client.get("/", &[]);
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.header("connection") == Some("close") {
                        client = Client::open(gateway.ports.proxy);
                    }
                }
            });
        }
        for round in 0..3 {
            let before = answered.load(Ordering::Relaxed);
            let output =
                gateway.reload_with(&upstream.kong_yml(&["{ paths: [/] }", &format!("{{ paths: [/r{round}] }}")]));
            assert!(output.status.success(), "{}", said(&output));
            eventually("requests go on", || answered.load(Ordering::Relaxed) > before + 50);
        }
    });
}

/// Ends the clients when the thread that reloads is through.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_broken_kong_yml_on_reload_changes_nothing() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/a] }"]));
    let output = gateway.reload_with("_format_version: \"3.0\"\nservices:\n  - name: a\n");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("required field missing"), "{}", said(&output));
    assert_eq!(get(gateway.ports.proxy, "/a", &[]).status, 200);
}

#[test]
fn a_killed_worker_is_replaced() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let workers = gateway.workers();
    assert_eq!(workers.len(), 1, "one worker process");
    signal(workers[0], "KILL");
    // The sockets outlive the worker: a connection is never refused, its answer comes when the next one is up.
    eventually("requests are answered again", || {
        Client::open(gateway.ports.proxy).try_get("/", &[]).is_ok_and(|answer| answer.status == 200)
    });
    assert_ne!(gateway.workers(), workers);
}
