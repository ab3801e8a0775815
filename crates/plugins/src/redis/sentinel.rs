//! Sentinels: they say which server is the master of the day.

use super::Failure;
use super::connection::Connection;
use super::node::address;
use super::resp::{self, Reply};
use super::settings::{Access, Address, Sentinels};

/// A connection to the server that the first sentinel in reach names.
pub(super) async fn open(sentinels: &Sentinels, access: &Access) -> Result<Connection, Failure> {
    let mut last = Failure::new("no sentinel");
    for node in &sentinels.nodes {
        // One that hangs must not take the time of the others.
        let share = access.connect_timeout / (sentinels.nodes.len() as u32 + 1);
        let asked = tokio::time::timeout(share, ask(node, sentinels, access)).await;
        match asked.unwrap_or_else(|_| Err(Failure::new("timeout"))) {
            Ok(found) => return open_found(&found, sentinels, access).await,
            Err(failure) => last = failure,
        }
    }
    Err(Failure::Other(format!("sentinels: {last}")))
}

async fn ask(node: &Address, sentinels: &Sentinels, access: &Access) -> Result<Address, Failure> {
    let mut connection = Connection::open(node, access, &sentinels.login).await?;
    let what: &[u8] = if sentinels.is_replica_wanted { b"REPLICAS" } else { b"GET-MASTER-ADDR-BY-NAME" };
    let mut command = Vec::new();
    resp::command(&mut command, &[b"SENTINEL", what, sentinels.master.as_bytes()]);
    let reply = connection.ask(&command).await?;
    let found = match &reply {
        Reply::Error(error) => return Err(Failure::Other(error.clone())),
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
