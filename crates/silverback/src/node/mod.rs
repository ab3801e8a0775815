//! A worker process assembled: the configuration's way in, the threads of the data plane, the Admin and status listeners.

mod admin_service;
mod admin_settings;
mod certificates;
mod config_line;
mod facts;
mod insight;
mod ledger;
mod plugin_endpoints;
mod rest;
mod settings;
mod status_service;
mod storage;
pub(crate) mod stores;
mod threads;

use crate::conf::{Conf, Database};
use crate::error_log::ErrorLog;
use crate::supervisor::{Control, Event, Inherited, ListenerKind, Worker};
use anyhow::Context as _;
use config_line::ConfigLine;
use entities::{AvailablePlugin, Catalog};
use facts::Facts;
use pdk::{Definition, Phases};
use proxy::{LAST_ACCEPTS, Proxy, Upstreams};
pub(crate) use settings::{declarative as declarative_text, router_flavor, trusted_authorities};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use storage::PluginStorage;
use store::Watch;
use stores::Opened;
use threads::{Plan, Threads};

/// How long the last messages of logging plugins may take to be sent.
const LOG_FLUSH: Duration = Duration::from_secs(3);

/// Runs a worker with the plugins that come with Silverback.
///
/// # Errors
/// When the node cannot start: what, and where to look.
pub fn run(worker: Worker) -> anyhow::Result<()> {
    run_with(worker, plugins::TABLE)
}

/// Runs a worker with plugins of the caller's choice, in execution order.
///
/// # Errors
/// When the node cannot start: what, and where to look.
pub fn run_with(worker: Worker, plugins: &[Definition]) -> anyhow::Result<()> {
    let Worker { conf, listeners, threads, mut control, log } = worker;
    let node = Node::assemble(&conf, plugins, threads, log)?;
    let running = node.serve(&conf, listeners, threads)?;
    control.ready().context("the supervisor is gone")?;
    crate::supervisor::give_back_start();
    loop {
        match control.wait()? {
            Event::Stop => break,
            Event::Reopen => node.reopen_logs(),
            Event::Drain => {
                node.proxy.drain();
                running.stop_accepting();
                node.wait_for_connections(&mut control, conf.drain_timeout())?;
                break;
            }
        }
    }
    running.stop();
    let left = plugins::flush_logs(LOG_FLUSH);
    if left > 0 {
        log::warn!("{left} log messages of plugins could not be sent before the end");
    }
    Ok(())
}

/// The entities and plugins that a configuration may hold.
#[must_use]
pub fn catalog(conf: &Conf) -> Catalog {
    catalog_with(conf, plugins::TABLE)
}

/// As [`catalog`], with plugins of the caller's choice.
#[must_use]
pub fn catalog_with(conf: &Conf, plugins: &[Definition]) -> Catalog {
    let available = settings::enabled_plugins(conf, plugins).into_iter().map(|p| AvailablePlugin {
        priority: p.priority,
        version: p.version.into(),
        schema: match conf.database {
            Database::Off => plugins::without_database((p.schema)()),
            _ => (p.schema)(),
        },
    });
    Catalog::new(settings::catalog_flavor(conf), available.collect())
}

/// The Admin API as an OpenAPI document.
#[must_use]
pub fn openapi(catalog: &Catalog) -> serde_json::Value {
    admin::openapi(catalog, &plugin_endpoints::of(|name| catalog.plugin(name).is_some()), &admin::Settings::default())
}

/// The reference of the Admin API, Markdown.
#[must_use]
pub fn admin_reference(catalog: &Catalog) -> String {
    admin::reference(catalog, &plugin_endpoints::of(|name| catalog.plugin(name).is_some()), &admin::Settings::default())
}

/// The names of the plugins that come with Silverback, a line each.
pub(crate) fn plugin_names() -> String {
    plugins::TABLE.iter().map(|plugin| format!("{}\n", plugin.name)).collect()
}

/// The reference of a plugin's configuration, Markdown.
pub(crate) fn plugin_reference(name: &str) -> Option<String> {
    let plugin = plugins::find(name)?;
    let phases = Phases::NAMES.into_iter().filter(|(phase, _)| plugin.phases.contains(*phase));
    let phases: Vec<&str> = phases.map(|(_, name)| name).collect();
    Some(admin::plugin_reference(&(plugin.schema)(), plugin.priority, &phases))
}

/// What a worker process consists of.
struct Node {
    catalog: Arc<Catalog>,
    proxy: Arc<Proxy>,
    line: Arc<ConfigLine>,
    facts: Arc<Facts>,
    opened: Opened,
    /// Follows what other nodes change.
    watch: OnceLock<Watch>,
    log_generation: Arc<AtomicU64>,
}

impl Node {
    fn reopen_logs(&self) {
        self.log_generation.fetch_add(1, Ordering::Relaxed);
        plugins::file_log::reopen();
    }

    /// Waits until the last connection has ended, the time is over, or the node is told to stop at once.
    fn wait_for_connections(&self, control: &mut Control, limit: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        // Those that the listeners take last are not counted yet.
        let (end, counted) = (now + limit, now + 2 * LAST_ACCEPTS);
        while (self.proxy.stats.view().active > 0 || Instant::now() < counted) && Instant::now() < end {
            match control.wait_for(Duration::from_millis(20))? {
                Some(Event::Stop) => return Ok(()),
                Some(Event::Reopen) => self.reopen_logs(),
                Some(Event::Drain) | None => {}
            }
        }
        Ok(())
    }

    fn assemble(conf: &Conf, plugins: &[Definition], threads: usize, log: ErrorLog) -> anyhow::Result<Self> {
        settings::check_plugins(conf, plugins)?;
        let plugins: Arc<[Definition]> = settings::enabled_plugins(conf, plugins).into();
        let catalog = Arc::new(catalog_with(conf, &plugins));
        let dns = proxy::dns::Dns::new(settings::dns(conf)).context("the DNS settings cannot be used")?;
        let upstreams = Arc::new(Upstreams::new(dns, conf.locality.as_deref()));
        let vaults = Arc::default();
        let environment = settings::environment(conf, plugins.clone(), upstreams.clone(), &vaults)?;
        let line = Arc::new(ConfigLine::new(environment, vaults)?);
        let snapshots = line.snapshots().clone();
        let opened = stores::open_for_node(conf, &catalog)?;
        let workspace = match &opened {
            Opened::Postgres(store) => store.workspace(),
            _ => None,
        };
        if conf.database != Database::Off {
            plugins::count_in(Arc::new(ledger::Ledger(opened.store())));
        }
        let storage = Arc::new(PluginStorage::new(opened.store(), catalog.clone()));
        let proxy = Arc::new(Proxy::new(settings::proxy(conf, workspace)?, snapshots, upstreams, storage, threads));
        let facts = Arc::new(Facts::new(conf, proxy.clone(), line.clone(), opened.store(), plugins, log)?);
        Ok(Self { catalog, proxy, line, facts, opened, watch: OnceLock::new(), log_generation: Arc::default() })
    }

    /// Loads the configuration and starts the threads.
    fn serve(&self, conf: &Conf, listeners: Vec<Inherited>, threads: usize) -> anyhow::Result<Threads> {
        let server = conf.headers.server.then(|| self.proxy.settings.server.clone());
        let admin = admin_settings::of(conf, server)?;
        let store = self.opened.store();
        let api = Arc::new(admin::Api::new(self.catalog.clone(), store.clone(), self.facts.clone(), admin));
        self.load(conf, &api)?;
        let tls = certificates::server_tls(conf, &self.proxy.snapshots)?;
        let (control, data): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|l| l.kind != ListenerKind::Proxy);
        let plan = Plan {
            proxy: self.proxy.clone(),
            tls,
            access_log: settings::access_log(&conf.proxy_access_log, conf, &self.log_generation)?,
            admin_log: settings::access_log(&conf.admin_access_log, conf, &self.log_generation)?,
            status_log: settings::access_log(&conf.status_access_log, conf, &self.log_generation)?,
            api,
            facts: self.facts.clone(),
            store,
        };
        Threads::start(Arc::new(plan), data, control, threads)
    }

    fn load(&self, conf: &Conf, api: &admin::Api) -> anyhow::Result<()> {
        if conf.database != Database::Off {
            if let Some(watch) = self.opened.load_into(&self.line)? {
                let _ = self.watch.set(watch);
            }
            return Ok(());
        }
        if let Some((text, from)) = settings::declarative(conf)? {
            settings::load_declarative(&self.catalog, api, &text, from.as_deref())?;
        }
        Ok(())
    }
}
