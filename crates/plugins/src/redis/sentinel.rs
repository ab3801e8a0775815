//! Sentinels: they say which server is the master of the day.

use super::Failure;
use super::connection::Connection;
use super::node::address;
use super::resp::{self, Reply};
use super::settings::{Access, Address, Sentinels};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A connection to the server that a sentinel names: the first one whose server is there. One that is cut off from the others
/// goes on to name the master of yesterday.
pub(super) async fn open(sentinels: &Sentinels, access: &Access) -> Result<Connection, Failure> {
    let mut last = Failure::new("no sentinel");
    let end = Instant::now() + access.connect_timeout;
    for (at, node) in sentinels.nodes.iter().enumerate() {
        // One that hangs, or whose server does, must not take the time of the others.
        let others = (sentinels.nodes.len() - at - 1) as u32;
        let left = || end.saturating_duration_since(Instant::now());
        let opened = match within(left() / (others + 2), ask(node, sentinels, access)).await {
            Ok(found) => {
                let share = if others > 0 { left() / 2 } else { left() };
                within(share, open_found(&found, sentinels, access)).await
            }
            Err(failure) => Err(failure),
        };
        match opened {
            Ok(connection) => return Ok(connection),
            Err(failure) => last = failure,
        }
    }
    Err(Failure::Other(format!("sentinels: {last}")))
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(time, work).await.unwrap_or_else(|_| Err(Failure::new("timeout")))
}

async fn ask(node: &Address, sentinels: &Sentinels, access: &Access) -> Result<Address, Failure> {
    let mut connection = Connection::open(node, access, &sentinels.login).await?;
    let what: &[u8] = if sentinels.is_replica_wanted { b"REPLICAS" } else { b"GET-MASTER-ADDR-BY-NAME" };
    let mut command = Vec::new();
    resp::command(&mut command, &[b"SENTINEL", what, sentinels.master.as_bytes()]);
    let reply = connection.ask(&command).await?;
    let found = match &reply {
        Reply::Error(_) => return Err(Failure::Other(reply.shortened())),
        Reply::Array(parts) if sentinels.is_replica_wanted => parts.iter().find_map(replica),
        Reply::Array(parts) => match &**parts {
            [host, port] => address(host, port),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| Failure::Other(format!("no server of '{}' is known", sentinels.master)))
}

/// Of a replica, told as names and values in turn, the address, where it is up.
fn replica(told: &Reply) -> Option<Address> {
    let Reply::Array(fields) = told else { return None };
    let value = |name: &str| {
        let pairs = fields.as_chunks::<2>().0;
        pairs.iter().find(|[known, _]| *known == Reply::Bulk(name.into())).map(|[_, value]| value)
    };
    let is_down = matches!(value("flags")?, Reply::Bulk(flags) if memchr::memmem::find(flags, b"down").is_some());
    if is_down { None } else { address(value("ip")?, value("port")?) }
}

async fn open_found(found: &Address, sentinels: &Sentinels, access: &Access) -> Result<Connection, Failure> {
    let mut connection = Connection::open(found, access, &access.login).await?;
    if sentinels.is_replica_wanted {
        return Ok(connection);
    }
    // A sentinel may not know yet that another one was made the master.
    let mut command = Vec::new();
    resp::command(&mut command, &[b"ROLE"]);
    match connection.ask(&command).await? {
        Reply::Array(parts) if parts.first() == Some(&Reply::Bulk(b"master".to_vec())) => Ok(connection),
        // Where the command is forbidden, the sentinel's word counts.
        Reply::Error(error) if error.starts_with("NOPERM") => Ok(connection),
        _ => Err(Failure::new("the server is no master any more")),
    }
}
