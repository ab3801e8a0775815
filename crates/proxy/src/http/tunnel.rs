//! A connection upgraded (WebSocket): bytes both ways until both ends have closed.

use super::connection::Connection;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Copies both ways. Silence of both for `idle` ends the tunnel.
pub(crate) async fn run(client: Rc<Connection>, upstream: Rc<Connection>, idle: Duration) {
    let last = Rc::new(Cell::new(Instant::now()));
    let mut up = Box::pin(copy(client.clone(), upstream.clone(), idle, last.clone()));
    let mut down = Box::pin(copy(upstream, client, idle, last));
    let (mut up_done, mut down_done) = (false, false);
    poll_fn(|task| {
        up_done = up_done || up.as_mut().poll(task).is_ready();
        down_done = down_done || down.as_mut().poll(task).is_ready();
        if up_done && down_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn copy(from: Rc<Connection>, to: Rc<Connection>, idle: Duration, last: Rc<Cell<Instant>>) {
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
        if to.write_all(&bytes, &[]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
