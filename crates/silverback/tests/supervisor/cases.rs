//! The cases.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::node::{Client, Node, eventually, free_port, lives, text};

macro_rules! cases {
    ($($name:ident)*) => {
        pub(crate) const ALL: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

cases! {
    commands_speak_kongs_language
    a_declarative_file_is_parsed_and_one_is_begun
    a_second_start_in_the_same_prefix_is_refused
    a_port_in_use_is_named_and_nothing_starts
    what_the_worker_finds_wrong_is_told_by_start
    a_killed_worker_is_replaced_within_a_second
    a_worker_that_keeps_crashing_is_started_with_pauses
    a_reload_drops_no_connection_and_keeps_open_ones
    a_reload_with_a_broken_file_leaves_the_node_alone
    a_reload_whose_worker_cannot_start_leaves_the_node_alone
    a_reload_changes_listeners_and_threads
    a_reload_takes_the_environment_of_its_command
    a_hangup_signal_reloads
    an_upgrade_drops_no_connection_and_keeps_the_process_id
    an_upgrade_to_a_broken_program_is_off
    quit_finishes_open_requests_and_stop_does_not
    a_worker_without_supervisor_ends
    logs_are_opened_anew_after_a_rotation
    a_background_node_holds_nothing_of_its_caller
    the_foreground_node_ends_with_its_signal
    the_supervisor_stays_small
}

fn commands_speak_kongs_language() {
    let node = Node::new("");
    let prefix = node.prefix().display();
    let error = |message: String| {
        (1, String::new(), format!("Error: {message}\n\n  Run with --v (verbose) or --vv (debug) for more details\n"))
    };
    assert_eq!(text(&node.command(&["health"])), error(format!("Silverback is not running at {prefix}")));
    assert_eq!(text(&node.command(&["stop"])), error(format!("Silverback is not running in {prefix}")));
    assert_eq!(text(&node.command(&["reload"])), error(format!("Silverback is not running in {prefix}")));
    let valid = format!("configuration at {} is valid\n", node.conf().display());
    assert_eq!(text(&node.command(&["check"])), (0, valid, String::new()));
    node.start();
    let healthy = format!("supervisor....running\nworker........running\n\nSilverback is healthy at {prefix}\n");
    assert_eq!(text(&node.command(&["health"])), (0, healthy, String::new()));
    assert_eq!(text(&node.command(&["reload"])), (0, "Silverback reloaded\n".to_owned(), String::new()));
    assert_eq!(
        text(&node.command(&["restart"])),
        (0, "Silverback stopped\nSilverback started\n".to_owned(), String::new())
    );
    assert_eq!(text(&node.command(&["quit"])), (0, "Silverback stopped\n".to_owned(), String::new()));
    assert!(fs::read_dir(node.prefix().join("pids")).unwrap().next().is_none());
    node.configure("log_level = loud");
    let (code, _, stderr) = text(&node.command(&["check"]));
    assert_eq!(code, 1);
    assert!(stderr.starts_with("Error: log_level has an invalid value: 'loud' (debug, "), "{stderr}");
    assert!(stderr.contains(&format!("in {}, line 6", node.conf().display())), "{stderr}");
}

fn a_declarative_file_is_parsed_and_one_is_begun() {
    let node = Node::new("");
    let file = |name: &str, text: &str| {
        let path = node.prefix().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let parse = |path: &str| text(&node.command(&["config", "parse", path]));
    let good = file("good.yml", "_format_version: '3.0'\nservices:\n- name: a\n  url: http://a.test\n");
    assert_eq!(parse(&good), (0, "parse successful\n".to_owned(), String::new()));
    let (code, _, stderr) = parse(&file("bad.json", r#"{"_format_version": "3.0", "services": [{"name": "a"}]}"#));
    assert_eq!(code, 1);
    assert!(stderr.starts_with("Error: Failed parsing:\n"), "{stderr}");
    assert!(stderr.contains("in 'host': required field missing"), "{stderr}");
    let (code, _, stderr) = parse(&file("kong.toml", ""));
    assert_eq!(code, 1);
    assert!(stderr.contains("kong.toml. (Accepted types: json, yaml)"), "{stderr}");

    let begun = node.prefix().join("kong.yml").display().to_string();
    assert_eq!(text(&node.command_alone(&["config", "init", &begun])), (0, String::new(), String::new()));
    assert_eq!(parse(&begun).0, 0);
    let (code, _, stderr) = text(&node.command_alone(&["config", "init", &begun]));
    assert_eq!(code, 1);
    assert!(stderr.starts_with(&format!("Error: {begun} already exists.\nWill not overwrite it.\n")), "{stderr}");
}

fn a_second_start_in_the_same_prefix_is_refused() {
    let node = Node::started("");
    let (code, _, stderr) = text(&node.command(&["start"]));
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with(&format!("Error: Silverback is already running in {}\n", node.prefix().display())),
        "{stderr}"
    );
    // A number in a file is not a running node: after a power cut the number may be anybody's.
    node.command(&["stop"]);
    fs::write(node.prefix().join("pids/silverback.pid"), "1\n").unwrap();
    node.start();
}

fn a_port_in_use_is_named_and_nothing_starts() {
    let node = Node::new("");
    let taken = TcpListener::bind(("127.0.0.1", node.port)).unwrap();
    let (code, stdout, stderr) = text(&node.command(&["start"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    let expected = format!(
        "Error: proxy_listen: could not listen on 127.0.0.1:{}: the port is in use by another process; stop it or choose another \
         port\n",
        node.port
    );
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert!(!node.prefix().join("pids/silverback.pid").exists());
    drop(taken);
    node.start();
    // Another node shares no port either, although both use SO_REUSEPORT.
    let other = Node::new(&format!("proxy_listen = 127.0.0.1:{}", node.port));
    let (code, _, stderr) = text(&other.command(&["start"]));
    assert_eq!(code, 1);
    assert!(stderr.starts_with(&expected), "{stderr}");
}

fn what_the_worker_finds_wrong_is_told_by_start() {
    let node = Node::new("");
    fs::write(node.prefix().join("fail"), "").unwrap();
    let (code, stdout, stderr) = text(&node.command(&["start"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("Error: kong.yml, line 3: no such thing\n"), "{stderr}");
    fs::rename(node.prefix().join("fail"), node.prefix().join("crash")).unwrap();
    let (code, _, stderr) = text(&node.command(&["start"]));
    assert_eq!(code, 1);
    assert!(stderr.starts_with("Error: the worker process ended during its start (signal 6)\n"), "{stderr}");
    fs::remove_file(node.prefix().join("crash")).unwrap();
    node.start();
}

fn a_killed_worker_is_replaced_within_a_second() {
    let node = Node::started("");
    let worker = node.worker();
    let killed = Instant::now();
    kill_process(worker, Signal::KILL).unwrap();
    // A connection of the moment in between waits in the socket, which the supervisor holds.
    eventually("a new worker answers", || node.ask("pid").is_ok_and(|pid| pid != worker.as_raw_nonzero().to_string()));
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert!(node.log().contains("ended: signal 9"), "{}", node.log());
    eventually("healthy", || node.command(&["health"]).status.success());
}

fn a_worker_that_keeps_crashing_is_started_with_pauses() {
    let node = Node::started("");
    fs::write(node.prefix().join("crash"), "").unwrap();
    let killed = Instant::now();
    kill_process(node.worker(), Signal::KILL).unwrap();
    let attempts = || node.log().matches("could not be started again").count();
    eventually("four attempts", || attempts() >= 4);
    assert!(killed.elapsed() >= Duration::from_millis(100 + 200 + 400), "{:?}", killed.elapsed());
    assert!(!node.command(&["health"]).status.success());
    fs::remove_file(node.prefix().join("crash")).unwrap();
    assert_eq!(node.ask("again").unwrap(), "again");
}

/// Connects again and again during `work`; answers how many connections there were. All of them must be answered.
fn under_load(node: &Node, work: impl FnOnce()) -> usize {
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, count, port) = (Arc::clone(&is_over), Arc::clone(&count), node.port);
            std::thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let answer = Client::new(port).and_then(|mut client| client.ask("x"));
                    assert_eq!(answer.map_err(|error| error.to_string()).as_deref(), Ok("x"));
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    eventually("load", || count.load(Ordering::SeqCst) > 50);
    work();
    let before = count.load(Ordering::SeqCst);
    eventually("load afterwards", || count.load(Ordering::SeqCst) > before + 50);
    is_over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("every connection is answered");
    }
    count.load(Ordering::SeqCst)
}

fn a_reload_drops_no_connection_and_keeps_open_ones() {
    let node = Node::started("");
    let first = node.worker();
    let mut kept = Client::new(node.port).unwrap();
    assert_eq!(kept.ask("hello").unwrap(), "hello");
    let count = under_load(&node, || {
        for _ in 0..5 {
            assert!(node.command(&["reload"]).status.success());
        }
    });
    assert!(count > 100, "{count}");
    eventually("another worker serves", || node.worker() != first);
    assert_eq!(kept.ask("pid").unwrap(), first.as_raw_nonzero().to_string(), "the old worker keeps its connection");
    drop(kept);
    eventually("the old worker ends", || !lives(first));
}

/// The old worker may still take a connection of the moment in which the new one is ready.
fn becomes(node: &Node, expected: &str) {
    eventually("the new level", || node.ask("level").is_ok_and(|level| level == expected));
}

fn a_reload_with_a_broken_file_leaves_the_node_alone() {
    let node = Node::started("");
    let worker = node.worker();
    node.configure("log_level = loud\nlua_max_req_headers = 0");
    let (code, _, stderr) = text(&node.command(&["reload"]));
    assert_eq!(code, 1);
    assert!(stderr.starts_with("Error: log_level has an invalid value"), "{stderr}");
    node.signal(Signal::HUP);
    eventually("a line in the log", || {
        node.log().contains("the reload failed, the node goes on as before: log_level has an")
    });
    assert_eq!(node.worker(), worker);
    node.configure("log_level = warn");
    assert!(node.command(&["reload"]).status.success());
    becomes(&node, "warn");
}

fn a_reload_whose_worker_cannot_start_leaves_the_node_alone() {
    let node = Node::started("");
    let worker = node.worker();
    for (file, problem) in
        [("fail", "kong.yml, line 3: no such thing"), ("crash", "the worker process ended during its start (signal 6)")]
    {
        fs::write(node.prefix().join(file), "").unwrap();
        let (code, _, stderr) = text(&node.command(&["reload"]));
        assert_eq!(code, 1);
        assert!(
            stderr.starts_with(&format!("Error: the reload failed, the node goes on as before: {problem}\n")),
            "{stderr}"
        );
        assert_eq!(node.worker(), worker);
        fs::remove_file(node.prefix().join(file)).unwrap();
    }
    assert!(node.command(&["reload"]).status.success());
    eventually("another worker serves", || node.worker() != worker);
}

fn a_reload_changes_listeners_and_threads() {
    let node = Node::started("");
    let (kept, added) = (node.port, free_port());
    for threads in [1, 4, 2] {
        let listen = format!(
            "proxy_listen = 127.0.0.1:{kept} backlog=100, 127.0.0.1:{added}\nnginx_worker_processes = {threads}"
        );
        under_load(&node, || {
            node.configure(&listen);
            let (code, said, warned) = text(&node.command(&["reload"]));
            assert_eq!((code, said.as_str()), (0, "Silverback reloaded\n"), "{warned}");
            assert!(warned.contains("nginx_worker_processes is set again"), "{warned}");
        });
        // Every socket of the address is served, however many there are.
        for _ in 0..20 {
            assert_eq!(Client::new(added).unwrap().ask("x").unwrap(), "x");
        }
    }
    node.configure("");
    assert!(node.command(&["reload"]).status.success());
    eventually("the removed port is closed", || Client::new(added).is_err());
    let taken = TcpListener::bind(("127.0.0.1", added)).unwrap();
    node.configure(&format!("proxy_listen = 127.0.0.1:{kept}, 127.0.0.1:{added}"));
    let (code, _, stderr) = text(&node.command(&["reload"]));
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("could not listen on 127.0.0.1:{added}: the port is in use")), "{stderr}");
    assert_eq!(node.ask("x").unwrap(), "x");
    drop(taken);
}

fn a_reload_takes_the_environment_of_its_command() {
    let node = Node::started("log_level = warn");
    assert_eq!(node.ask("level").unwrap(), "warn");
    assert!(node.command_with(&["reload"], &[("KONG_LOG_LEVEL", "info")]).status.success());
    becomes(&node, "info");
    assert!(!node.prefix().join("pids/reload.json").exists(), "it may hold secrets");
    // The node goes on with it, as with the environment it was started in.
    assert!(node.command(&["reload"]).status.success());
    becomes(&node, "info");
}

fn a_hangup_signal_reloads() {
    let node = Node::started("log_level = warn");
    node.configure("log_level = error");
    node.signal(Signal::HUP);
    becomes(&node, "error");
}

fn program_of(pid: rustix::process::Pid) -> String {
    fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).unwrap().display().to_string()
}

/// A copy of the program, so that a test can replace the file.
fn own_program(node: &mut Node) {
    let own = node.prefix().join("silverback");
    fs::copy(&node.program, &own).unwrap();
    node.program = own;
}

fn replace(program: &Path, with: &Path) {
    let new = program.with_extension("new");
    fs::copy(with, &new).unwrap();
    fs::rename(&new, program).unwrap();
}

fn an_upgrade_drops_no_connection_and_keeps_the_process_id() {
    let mut node = Node::new("");
    own_program(&mut node);
    node.start();
    let (supervisor, first) = (node.supervisor(), node.worker());
    let mut kept = Client::new(node.port).unwrap();
    assert_eq!(kept.ask("hello").unwrap(), "hello");
    for round in 0..2 {
        replace(&node.program, &std::env::current_exe().unwrap());
        assert!(program_of(supervisor).ends_with(" (deleted)"));
        let before = node.worker();
        under_load(&node, || {
            node.signal(Signal::USR2);
            eventually("another worker serves", || node.worker() != before);
        });
        assert_eq!(program_of(supervisor), node.program.display().to_string(), "round {round}");
        assert_eq!(program_of(node.worker()), node.program.display().to_string());
        assert_eq!(kept.ask("pid").unwrap(), first.as_raw_nonzero().to_string());
        assert!(node.command(&["health"]).status.success());
    }
    drop(kept);
    eventually("the first worker ends", || !lives(first));
    assert!(node.command(&["reload"]).status.success(), "{}", node.log());
    let worker = node.worker();
    kill_process(worker, Signal::KILL).unwrap();
    assert_eq!(node.ask("x").unwrap(), "x");
    assert!(node.command(&["quit"]).status.success());
    eventually("the supervisor ends", || !lives(supervisor));
}

fn an_upgrade_to_a_broken_program_is_off() {
    let mut node = Node::new("");
    own_program(&mut node);
    node.start();
    let worker = node.worker();
    for (program, problem) in
        [("/bin/false", "check' does not accept the configuration"), ("/etc/hostname", "could not start")]
    {
        replace(&node.program, Path::new(program));
        node.signal(Signal::USR2);
        eventually("a line in the log", || node.log().contains(problem));
        assert_eq!(node.worker(), worker);
    }
    // A crash meanwhile starts the program that runs, not the broken file.
    kill_process(worker, Signal::KILL).unwrap();
    eventually("a new worker", || node.ask("pid").is_ok_and(|pid| pid != worker.as_raw_nonzero().to_string()));
    replace(&node.program, &std::env::current_exe().unwrap());
}

fn quit_finishes_open_requests_and_stop_does_not() {
    let node = Node::started("");
    let mut open = Client::new(node.port).unwrap();
    assert_eq!(open.ask("x").unwrap(), "x");
    let (supervisor, worker) = (node.supervisor(), node.worker());
    node.signal(Signal::QUIT);
    eventually("no new connections", || Client::new(node.port).and_then(|mut client| client.ask("x")).is_err());
    assert_eq!(open.ask("still").unwrap(), "still");
    drop(open);
    eventually("the node ends", || !lives(supervisor));
    assert!(!lives(worker));

    node.start();
    let mut open = Client::new(node.port).unwrap();
    assert_eq!(open.ask("x").unwrap(), "x");
    assert!(node.command(&["stop"]).status.success());
    assert!(open.ask("still").is_err());

    node.start();
    let mut open = Client::new(node.port).unwrap();
    assert_eq!(open.ask("x").unwrap(), "x");
    let forced = (0, "Timeout, Silverback stopped forcefully\n".to_owned(), String::new());
    assert_eq!(text(&node.command(&["quit", "-t", "0"])), forced);
}

fn a_worker_without_supervisor_ends() {
    let node = Node::started("");
    let (supervisor, worker) = (node.supervisor(), node.worker());
    kill_process(supervisor, Signal::KILL).unwrap();
    eventually("the worker ends", || !lives(worker));
    node.start();
    assert_eq!(node.ask("x").unwrap(), "x");
}

fn logs_are_opened_anew_after_a_rotation() {
    let node = Node::started("");
    let log = node.prefix().join("logs/error.log");
    fs::rename(&log, log.with_extension("1")).unwrap();
    node.signal(Signal::USR1);
    eventually("the worker writes into the new file", || node.log().contains("reopened"));
    kill_process(node.worker(), Signal::KILL).unwrap();
    eventually("the supervisor too", || node.log().contains("ended: signal 9"));
}

fn a_background_node_holds_nothing_of_its_caller() {
    let node = Node::new("");
    let lock = node.prefix().join("lock");
    // As `flock FILE silverback start` does: the file is open, and passed on.
    let mut start = Command::new("flock");
    start.arg(&lock).arg(&node.program).args(["start", "-c"]).arg(node.conf());
    assert!(start.env("SB_TEST_CLI", std::process::id().to_string()).status().unwrap().success());
    assert_eq!(node.ask("x").unwrap(), "x");
    assert!(Command::new("flock").args(["-n"]).arg(&lock).arg("true").status().unwrap().success(), "the lock is free");
}

fn the_foreground_node_ends_with_its_signal() {
    for signal in [Signal::INT, Signal::TERM, Signal::QUIT] {
        let node = Node::new("nginx_daemon = off\nproxy_error_log = /dev/stderr");
        // As Kong's images do: `start` with the daemon switched off.
        let mut command = Command::new(&node.program);
        command.env("SB_TEST_CLI", std::process::id().to_string()).args(["start", "-c"]).arg(node.conf());
        let running =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        eventually("it serves", || node.ask("x").is_ok_and(|answer| answer == "x"));
        eventually("it is announced", || node.prefix().join("pids/silverback.json").exists());
        node.signal(signal);
        let (code, stdout, stderr) = text(&running.wait_with_output().unwrap());
        assert_eq!((code, stdout.as_str()), (0, "Silverback started\n"));
        assert!(stderr.contains("[notice]") && stderr.contains("started, 2 threads"), "{stderr}");
    }
}

fn the_supervisor_stays_small() {
    let node = Node::started("");
    let status = fs::read_to_string(format!("/proc/{}/status", node.supervisor().as_raw_nonzero())).unwrap();
    let own: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap();
    // What it shares with the worker, the text of the program, is not counted; it is small in a release build only.
    assert!(own < 2048, "{own} KiB");
}
