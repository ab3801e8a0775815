//! A connection upgraded (WebSocket): bytes both ways until both ends have closed.

use super::connection::Connection;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Copies both ways. Silence of both for `idle` ends the tunnel, and so does an end that reads nothing for as long.
pub(crate) async fn run(client: Rc<Connection>, upstream: Rc<Connection>, idle: Duration) {
    let last = Rc::new(Cell::new(Instant::now()));
    let mut up = Box::pin(copy(client.clone(), upstream.clone(), idle, last.clone()));
    let mut down = Box::pin(copy(upstream, client, idle, last));
    let (mut up_done, mut down_done) = (false, false);
    poll_fn(|task| {
        for (way, is_done) in [(&mut up, &mut up_done), (&mut down, &mut down_done)] {
            if !*is_done && let Poll::Ready(copied) = way.as_mut().poll(task) {
                if copied.is_err() {
                    return Poll::Ready(());
                }
                *is_done = true;
            }
        }
        if up_done && down_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One end reads nothing any more.
struct Stuck;

async fn copy(from: Rc<Connection>, to: Rc<Connection>, idle: Duration, last: Rc<Cell<Instant>>) -> Result<(), Stuck> {
    loop {
        let bytes = from.take(u64::MAX);
        if bytes.is_empty() {
            from.rest();
            let left = idle.saturating_sub(last.get().elapsed());
            match timeout(left, from.fill(0)).await {
                Ok(Ok(count)) if count > 0 => {}
                Err(_) if last.get().elapsed() < idle => {}
                _ => break,
            }
            continue;
        }
        last.set(Instant::now());
        if !write(&to, &bytes, idle).await? {
            break;
        }
    }
    timeout(idle, to.shutdown()).await.map_err(|_| Stuck).map(drop)
}

/// Whether everything could be written. The time counts from the last byte that the other end has taken.
async fn write(to: &Connection, bytes: &[u8], idle: Duration) -> Result<bool, Stuck> {
    let mut written = pin!(to.write_all(bytes, &[]));
    loop {
        let before = to.sent();
        match timeout(idle, written.as_mut()).await {
            Ok(written) => return Ok(written.is_ok()),
            Err(_) if to.sent() > before => {}
            Err(_) => return Err(Stuck),
        }
    }
}
