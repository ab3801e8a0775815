//! What an operator sets of the connections to PostgreSQL: Kong's `pg_*` properties.
use std::fmt;
use std::time::Duration;

/// Where a server is and how it is greeted.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// A name, an address, or a folder with the server's socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    /// `None`: the server's search_path.
    pub schema: Option<String>,
    /// Whether the connection is encrypted.
    pub ssl: bool,
    /// Whether the server's certificate is verified against `authorities`.
    pub ssl_verify: bool,
    /// In DER.
    pub authorities: Vec<Vec<u8>>,
    /// For a connection, and for each answer.
    pub timeout: Duration,
    /// Most connections at a time.
    pub most_connections: usize,
    /// How long a statement waits for a connection.
    pub queue_timeout: Duration,
    /// How many may wait; beyond it they fail at once.
    pub most_waiting: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            user: "kong".to_owned(),
            password: None,
            database: "kong".to_owned(),
            schema: None,
            ssl: false,
            ssl_verify: false,
            authorities: Vec::new(),
            timeout: Duration::from_secs(5),
            most_connections: 16,
            queue_timeout: Duration::from_secs(60),
            most_waiting: 1024,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.database)
    }
}

/// Without the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} as {}", self.user)
    }
}

/// The store's settings.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    pub main: Server,
    /// Asked by the reading endpoints of the Admin API. What the data plane gets is always read from `main`, so that a
    /// replica that lags behind cannot bring back what was changed.
    pub replica: Option<Server>,
    /// Where notifications are listened to; the server itself where `main` is a pooler in transaction mode.
    pub notifications: Server,
    /// How often changes by others are looked for without a notification: those of Kong's nodes send none.
    pub poll: Duration,
    /// How often expired rows are deleted.
    pub cleanup: Duration,
}

impl PostgresSettings {
    /// One server, with Kong's defaults for the rest.
    #[must_use]
    pub fn of(main: Server) -> Self {
        let notifications = main.clone();
        let (poll, cleanup) = (Duration::from_secs(5), Duration::from_secs(300));
        PostgresSettings { main, replica: None, notifications, poll, cleanup }
    }
}
