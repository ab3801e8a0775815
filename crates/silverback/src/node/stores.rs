//! The store that kong.conf asks for, opened: by a node that starts, and by the commands that work on it.

use super::config_line::ConfigLine;
use super::settings;
use crate::conf::{Conf, Database};
use anyhow::Context as _;
use entities::Catalog;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Held, Layout, Loaded, Off, Postgres, PostgresSettings, Server, Sqlite, State, Store, Watch, system_clock};
use uuid::Uuid;

/// What Kong says when a database has never been used.
const NEEDS_BOOTSTRAP: &str = "Database needs bootstrapping or is older than Kong 1.0.\n\n\
    To start a new installation from scratch, run 'silverback migrations bootstrap'.";
const TOO_OLD: &str = "New migrations available; this database is of a Kong before 3.9: \
    bring it to 3.9 or 3.10 with 'kong migrations up' and 'kong migrations finish' first.";

/// An open store.
pub(crate) enum Opened {
    Embedded(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
    Off(Arc<Off>),
}

impl Opened {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
            Self::Off(store) => store.clone(),
        }
    }

    /// Loads the configuration, and follows what others change from then on, for as long as the value lives.
    pub(super) fn load_into(&self, line: &Arc<ConfigLine>) -> anyhow::Result<Option<Watch>> {
        let Self::Postgres(store) = self else {
            line.load(|visit| self.store().each(visit).map(|()| Loaded::Database))?;
            return Ok(None);
        };
        let loaded = line.load(|visit| store.load(visit))?;
        let held: Arc<dyn Held> = line.clone();
        Ok(Some(store.watch(held, loaded)?))
    }
}

/// For a command: what it changes, a node that runs here hears of like any other node.
pub(crate) fn open(conf: &Conf, catalog: &Catalog) -> anyhow::Result<Opened> {
    let layout = Arc::new(Layout::of(catalog));
    Ok(match conf.database {
        Database::Off => Opened::Off(Arc::new(Off::new(layout, system_clock()))),
        Database::Embedded => {
            let path = conf.embedded_database();
            let store = Sqlite::open(&path, layout, system_clock());
            let store = store.with_context(|| format!("the database {} cannot be opened", path.display()))?;
            Opened::Embedded(Arc::new(store))
        }
        Database::Postgres => {
            let schemas = catalog.entities().cloned();
            let store = Postgres::new(postgres(conf)?, layout, schemas, Uuid::new_v4(), system_clock())?;
            Opened::Postgres(Arc::new(store))
        }
    })
}

/// As [`open`], for a node: with the copy of the last good configuration, and only where the migrations have run.
pub(super) fn open_for_node(conf: &Conf, catalog: &Catalog) -> anyhow::Result<Opened> {
    if conf.database != Database::Postgres {
        return open(conf, catalog);
    }
    let layout = Arc::new(Layout::of(catalog));
    let store = Postgres::new(postgres(conf)?, layout, catalog.entities().cloned(), conf.node_id()?, system_clock())?;
    let store = store.with_copy(&last_good(conf))?;
    match store.migrations().state() {
        Ok(state) => check(&state)?,
        // Without the database, the node starts with what it knew last.
        Err(error) if error.is_unavailable => log::error!("{error}"),
        Err(error) => return Err(error.into()),
    }
    Ok(Opened::Postgres(Arc::new(store)))
}

/// Whether a node can use the database.
pub(crate) fn check(state: &State) -> anyhow::Result<()> {
    anyhow::ensure!(!state.needs_bootstrap(), "{NEEDS_BOOTSTRAP}");
    anyhow::ensure!(!state.is_too_old, "{TOO_OLD}");
    if !state.pending.is_empty() {
        log::warn!("Database has pending migrations; run 'kong migrations finish' when ready");
    }
    if !state.additions.is_empty() {
        let additions = state.additions.join(", ");
        log::warn!(
            "the database lacks what Kong does not have ({additions}); run 'silverback migrations up' to use it"
        );
    }
    Ok(())
}

fn last_good(conf: &Conf) -> PathBuf {
    conf.in_prefix("data/last-good.db")
}

/// `pg_*` in the store's terms.
pub(crate) fn postgres(conf: &Conf) -> anyhow::Result<PostgresSettings> {
    let milliseconds = Duration::from_millis;
    let text = |secret: &crate::conf::Secret| secret.reveal().to_owned();
    let defaults = Server::default();
    let bound = |queries: u32, pool: Option<u32>| match (queries, pool) {
        (0, None) => defaults.most_connections,
        (0, Some(most)) | (most, _) => most as usize,
    };
    let needs_authorities = conf.pg_ssl_verify || conf.pg_ro_ssl_verify == Some(true);
    let main = Server {
        host: conf.pg_host.clone(),
        port: conf.pg_port,
        user: conf.pg_user.clone(),
        password: conf.pg_password.as_ref().map(text),
        database: conf.pg_database.clone(),
        schema: conf.pg_schema.clone(),
        ssl: conf.pg_ssl,
        ssl_verify: conf.pg_ssl_verify,
        authorities: if needs_authorities { authorities(conf)? } else { Vec::new() },
        timeout: milliseconds(conf.pg_timeout),
        most_connections: bound(conf.pg_max_concurrent_queries, conf.pg_pool_size),
        queue_timeout: milliseconds(conf.pg_semaphore_timeout),
        most_waiting: conf.pg_backlog.map_or(defaults.most_waiting, |most| most as usize),
        idle_timeout: conf.pg_keepalive_timeout.map_or(defaults.idle_timeout, milliseconds),
    };
    let replica = conf.pg_ro_host.clone().map(|host| Server {
        host,
        port: conf.pg_ro_port.unwrap_or(main.port),
        user: conf.pg_ro_user.clone().unwrap_or_else(|| main.user.clone()),
        password: conf.pg_ro_password.as_ref().map(text).or_else(|| main.password.clone()),
        database: conf.pg_ro_database.clone().unwrap_or_else(|| main.database.clone()),
        schema: conf.pg_ro_schema.clone().or_else(|| main.schema.clone()),
        ssl: conf.pg_ro_ssl.unwrap_or(main.ssl),
        ssl_verify: conf.pg_ro_ssl_verify.unwrap_or(main.ssl_verify),
        authorities: main.authorities.clone(),
        timeout: conf.pg_ro_timeout.map_or(main.timeout, milliseconds),
        most_connections: match (conf.pg_ro_max_concurrent_queries, conf.pg_ro_pool_size) {
            (None, None) => main.most_connections,
            (queries, pool) => bound(queries.unwrap_or(0), pool),
        },
        queue_timeout: conf.pg_ro_semaphore_timeout.map_or(main.queue_timeout, milliseconds),
        most_waiting: conf.pg_ro_backlog.map_or(main.most_waiting, |most| most as usize),
        idle_timeout: conf.pg_ro_keepalive_timeout.map_or(main.idle_timeout, milliseconds),
    });
    let mut settings = PostgresSettings::of(main);
    settings.replica = replica;
    if let Some(host) = &conf.pg_notify_host {
        settings.notifications.host.clone_from(host);
    }
    settings.notifications.port = conf.pg_notify_port.unwrap_or(settings.notifications.port);
    settings.poll = Duration::from_secs_f64(conf.db_update_frequency.max(0.05));
    settings.cleanup = Duration::from_secs_f64(conf._debug_pg_ttl_cleanup_interval.clamp(0.0, 1e9));
    Ok(settings)
}

fn authorities(conf: &Conf) -> anyhow::Result<Vec<Vec<u8>>> {
    let texts = settings::trusted_authorities(conf)?;
    let read = |text: &Vec<u8>| CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect::<Vec<_>>();
    Ok(texts.iter().flat_map(read).map(|certificate| certificate.to_vec()).collect())
}
