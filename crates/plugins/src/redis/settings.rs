//! Where a Redis is and who we are to it: the `redis` record of a config.

use serde::Deserialize;
use std::time::Duration;

/// A host and a port.
pub(super) type Address = (String, u16);

const PORT: u16 = 6379;
/// How often a command may be sent on to another node of a cluster, unless the config says.
const REDIRECTIONS: usize = 5;

/// The `redis` record of a config, as [`schema::typedefs::redis`] checks it. Kong Enterprise's `keepalive_*` have no effect:
/// a thread has one connection to each server.
#[derive(Deserialize, Debug, Default)]
pub(crate) struct Config {
    host: Option<String>,
    port: Option<u16>,
    timeout: Option<u64>,
    connect_timeout: Option<u64>,
    send_timeout: Option<u64>,
    read_timeout: Option<u64>,
    username: Option<String>,
    password: Option<String>,
    database: Option<i64>,
    ssl: Option<bool>,
    ssl_verify: Option<bool>,
    server_name: Option<String>,
    sentinel_master: Option<String>,
    sentinel_role: Option<String>,
    sentinel_nodes: Option<Vec<ConfiguredNode>>,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    cluster_nodes: Option<Vec<ConfiguredNode>>,
    cluster_max_redirections: Option<usize>,
    connection_is_proxied: Option<bool>,
}

#[derive(Deserialize, Debug)]
struct ConfiguredNode {
    #[serde(alias = "ip")]
    host: String,
    port: Option<u16>,
}

/// A Redis and how to reach it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    pub(super) servers: Servers,
    /// The one server is a proxy that spreads keys over others.
    pub(super) is_proxied: bool,
    pub(super) access: Access,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Servers {
    One(Place),
    Cluster(Nodes),
}

/// How the address of a server is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    At(Address),
    /// Sentinels know it.
    Watched(Sentinels),
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Sentinels {
    pub(super) nodes: Vec<Address>,
    pub(super) master: String,
    pub(super) is_replica_wanted: bool,
    pub(super) login: Login,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Nodes {
    pub(super) seeds: Vec<Address>,
    pub(super) redirections: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

/// What all servers of a Redis are told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Access {
    pub(super) connect_timeout: Duration,
    /// Of a command.
    pub(super) timeout: Duration,
    pub(super) login: Login,
    pub(super) is_tls: bool,
    pub(super) is_verified: bool,
    pub(super) server_name: Option<String>,
}

impl Settings {
    /// `None` without a server.
    pub(crate) fn new(config: Config) -> Option<Self> {
        let addresses = |nodes: Vec<ConfiguredNode>| -> Vec<Address> {
            nodes.into_iter().map(|node| (node.host, node.port.unwrap_or(PORT))).collect()
        };
        let ms = |value: Option<u64>| value.map(Duration::from_millis);
        let timeout = ms(config.timeout).unwrap_or(Duration::from_secs(2));
        let of_command = match (ms(config.send_timeout), ms(config.read_timeout)) {
            (None, None) => timeout,
            (send, read) => send.unwrap_or(timeout) + read.unwrap_or(timeout),
        };
        let mut login = Login {
            username: config.username.filter(|name| !name.is_empty()),
            password: config.password.filter(|password| !password.is_empty()),
            database: config.database.unwrap_or(0),
        };
        let servers = if let Some(nodes) = config.cluster_nodes {
            // A cluster has one database.
            login.database = 0;
            let redirections = config.cluster_max_redirections.unwrap_or(REDIRECTIONS);
            Servers::Cluster(Nodes { seeds: addresses(nodes), redirections })
        } else if let (Some(nodes), Some(master)) = (config.sentinel_nodes, config.sentinel_master) {
            Servers::One(Place::Watched(Sentinels {
                nodes: addresses(nodes),
                master,
                is_replica_wanted: config.sentinel_role.as_deref() == Some("slave"),
                login: Login { username: config.sentinel_username, password: config.sentinel_password, database: 0 },
            }))
        } else {
            Servers::One(Place::At((config.host?, config.port.unwrap_or(PORT))))
        };
        let access = Access {
            connect_timeout: ms(config.connect_timeout).unwrap_or(timeout),
            timeout: of_command,
            login,
            is_tls: config.ssl == Some(true),
            is_verified: config.ssl_verify == Some(true),
            server_name: config.server_name,
        };
        Some(Self { servers, is_proxied: config.connection_is_proxied == Some(true), access })
    }
}

impl Place {
    /// As messages name it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::At((host, port)) => format!("{host}:{port}"),
            Self::Watched(sentinels) => sentinels.master.clone(),
        }
    }
}
