//! A worker that answers each line with a word: its process id, its log level, or the line itself.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use entities::{Catalog, RouterFlavor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getppid, kill_process};
use silverback::conf::Conf;
use silverback::supervisor::{Event, Worker};

use crate::node::{harness, lives};

#[derive(Default)]
struct Traffic {
    is_draining: AtomicBool,
    open: AtomicUsize,
}

pub(crate) fn serve(worker: Worker) -> anyhow::Result<()> {
    let Worker { conf, listeners, mut control, .. } = worker;
    end_with_the_harness();
    if conf.in_prefix("fail").exists() {
        bail!("kong.yml, line 3: no such thing");
    }
    if conf.in_prefix("crash").exists() {
        std::process::abort();
    }
    let traffic = Arc::new(Traffic::default());
    let level = conf.log_level.as_str();
    for listener in listeners {
        let traffic = Arc::clone(&traffic);
        std::thread::spawn(move || accept(&listener.socket.into(), &traffic, level));
    }
    control.ready()?;
    loop {
        match control.wait()? {
            Event::Stop => return Ok(()),
            Event::Reopen => log::warn!("reopened"),
            Event::Drain => break,
        }
    }
    traffic.is_draining.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + conf.drain_timeout();
    // An accept may be under way when the flag is set; its thread looks again within the pause.
    std::thread::sleep(Duration::from_millis(30));
    while traffic.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        if control.wait_for(Duration::from_millis(2))? == Some(Event::Stop) {
            break;
        }
    }
    Ok(())
}

/// Tests that are killed half-way must not leave a node behind, which lives in the background.
fn end_with_the_harness() {
    let is_over = || harness().is_none_or(|harness| !lives(harness));
    let stop = || getppid().map(|supervisor| kill_process(supervisor, Signal::TERM));
    if is_over() {
        stop();
    }
    std::thread::spawn(move || {
        while !is_over() {
            std::thread::sleep(Duration::from_millis(500));
        }
        stop();
    });
}

pub(crate) fn catalog(_: &Conf) -> Catalog {
    Catalog::new(RouterFlavor::TraditionalCompatible, Vec::new())
}

fn accept(listener: &TcpListener, traffic: &Arc<Traffic>, level: &'static str) {
    let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    while !traffic.is_draining.load(Ordering::SeqCst) {
        let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&pause));
        let Ok((stream, _)) = listener.accept() else { continue };
        traffic.open.fetch_add(1, Ordering::SeqCst);
        let traffic = Arc::clone(traffic);
        std::thread::spawn(move || {
            answer(&stream, level);
            traffic.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn answer(mut stream: &TcpStream, level: &str) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        let answer = match line.as_str() {
            "pid" => std::process::id().to_string(),
            "level" => level.to_owned(),
            _ => line,
        };
        stream.write_all(format!("{answer}\n").as_bytes()).ok()?;
    }
    None
}
