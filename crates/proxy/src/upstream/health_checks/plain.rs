//! Probes without TLS, all of whose sockets are looked at together, now and then. To register each with the runtime's poller and
//! to be woken for each costs more.

use super::probe::{LONGEST_LINE, failure, status};
use balancer::health::Report;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

/// Between two looks at the sockets.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// The probes whose servers are waited for.
#[derive(Default)]
pub(super) struct Sockets {
    waiting: Mutex<Vec<Waiting>>,
    added: Notify,
}

struct Waiting {
    exchange: Exchange,
    answer: oneshot::Sender<Report>,
}

/// A connection on which a request goes out, and the first line of an answer comes back.
struct Exchange {
    stream: TcpStream,
    /// `None`: the connection is all that is asked for.
    request: Option<Box<[u8]>>,
    is_connected: bool,
    sent: usize,
    line: Vec<u8>,
    /// For each step: connecting, sending and receiving.
    timeout: Duration,
    deadline: Instant,
}

impl Sockets {
    /// Connects to an address and, where there is a request, sends it and reads the status line of the answer.
    pub(super) async fn probe(&self, at: SocketAddr, request: Option<String>, timeout: Duration) -> Report {
        let begun = Exchange::begin(at, request, timeout).and_then(|mut exchange| {
            let report = if exchange.is_connected { exchange.go_on()? } else { None };
            Ok((exchange, report))
        });
        let exchange = match begun {
            Ok((_, Some(report))) => return report,
            Ok((exchange, None)) => exchange,
            Err(error) => return failure(&error),
        };
        let (answer, answered) = oneshot::channel();
        self.lock().push(Waiting { exchange, answer });
        self.added.notify_one();
        answered.await.unwrap_or(Report::TcpFailure)
    }

    /// Looks at the sockets, while there are any: soon after one has gone on, then less and less often.
    pub(super) async fn attend(&self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            if self.lock().is_empty() {
                self.added.notified().await;
                pause = SHORTEST_PAUSE;
            }
            sleep(pause).await;
            let has_gone_on = self.look(Instant::now());
            pause = if has_gone_on { SHORTEST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
        }
    }

    /// Whether any of them has gone on.
    fn look(&self, now: Instant) -> bool {
        let mut waiting = self.lock();
        // Whose prober has given up.
        waiting.retain(|one| !one.answer.is_closed());
        let mut sockets: Vec<PollFd<'_>> =
            waiting.iter().map(|one| PollFd::new(&one.exchange.stream, one.exchange.awaits())).collect();
        // Where this fails, nothing is ready, and the time-outs tell.
        let _ = poll(&mut sockets, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let ready: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
        let is_waiting = |(mut one, is_ready): (Waiting, bool)| match one.exchange.outcome(is_ready, now) {
            Some(report) => {
                // Nobody listens when the prober has just given up.
                let _ = one.answer.send(report);
                None
            }
            None => Some(one),
        };
        let has_gone_on = ready.contains(&true);
        *waiting = std::mem::take(&mut *waiting).into_iter().zip(ready).filter_map(is_waiting).collect();
        has_gone_on
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    fn begin(at: SocketAddr, request: Option<String>, timeout: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        let is_connected = match socket.connect(&SockAddr::from(at)) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            stream: socket.into(),
            request: request.map(|text| text.into_bytes().into()),
            is_connected,
            sent: 0,
            line: Vec::new(),
            timeout,
            deadline: Instant::now() + timeout,
        })
    }

    /// What is to become of the socket before it can go on.
    fn awaits(&self) -> PollFlags {
        let is_sent = self.request.as_ref().is_some_and(|request| self.sent == request.len());
        if is_sent { PollFlags::IN } else { PollFlags::OUT }
    }

    /// `None` = it is not at its end.
    fn outcome(&mut self, is_ready: bool, now: Instant) -> Option<Report> {
        if is_ready {
            return self.go_on().unwrap_or_else(|error| Some(failure(&error)));
        }
        (self.deadline <= now).then_some(Report::Timeout)
    }

    /// Does what can be done now.
    fn go_on(&mut self) -> io::Result<Option<Report>> {
        match self.step() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            done => done,
        }
    }

    fn step(&mut self) -> io::Result<Option<Report>> {
        if !self.is_connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            self.is_connected = true;
            self.deadline = Instant::now() + self.timeout;
        }
        let Some(request) = &self.request else { return Ok(Some(Report::Success)) };
        if self.sent < request.len() {
            while let Some(rest) = request.get(self.sent..).filter(|rest| !rest.is_empty()) {
                self.sent += self.stream.write(rest)?;
            }
            self.deadline = Instant::now() + self.timeout;
            // No answer can be there yet.
            return Ok(None);
        }
        let mut part = [0; 1024];
        loop {
            let read = self.stream.read(&mut part)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.line.extend(part.iter().take(read));
            let end = memchr::memchr(b'\n', &self.line);
            if end.is_some() || self.line.len() >= LONGEST_LINE {
                self.line.truncate(end.unwrap_or(LONGEST_LINE));
                return Ok(Some(Report::HttpStatus(status(&self.line))));
            }
        }
    }
}
