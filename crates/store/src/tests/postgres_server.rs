//! A real PostgreSQL for tests: one for all tests that need nothing special, each with a database of its own.
use super::sqlite::Directory;
use crate::sql::for_tests::run_on;
use crate::{Layout, Postgres, PostgresSettings, Server, system_clock};
use entities::{Catalog, RouterFlavor};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use uuid::Uuid;

/// See `xtask/postgres.sh`, which runs it.
pub(super) struct PostgresServer {
    process: Child,
    says: Lines<BufReader<ChildStdout>>,
    told: Option<ChildStdin>,
    pub(super) folder: PathBuf,
    pub(super) server: Server,
}

impl PostgresServer {
    pub(super) fn start() -> PostgresServer {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("silverback-postgres-{}", Uuid::new_v4()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/postgres.sh");
        let mut process = Command::new("bash")
            .arg(script)
            .arg(&folder)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines();
        let told = process.stdin.take();
        let server = Server { port, password: Some("kong".to_owned()), ..Server::default() };
        let mut started = PostgresServer { process, says, told, folder, server };
        started.expect("ready");
        started
    }

    fn expect(&mut self, word: &str) {
        let said = self.says.next().expect("xtask/postgres.sh says above why it ended").unwrap();
        assert_eq!(said, word);
    }

    /// `stop`, `kill` or `start`.
    pub(super) fn tell(&mut self, word: &str) {
        writeln!(self.told.as_mut().unwrap(), "{word}").unwrap();
        self.expect("done");
    }

    /// The settings of a new database; `is_ready`: with the tables.
    pub(super) fn database(&self, is_ready: bool) -> PostgresSettings {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let template = if is_ready { "ready" } else { "template1" };
        run_on(&self.server, &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        PostgresSettings::of(Server { database: name, ..self.server.clone() })
    }

    /// Makes the database that ready ones are copied from: with the tables of all entities, and one for the contract alone.
    fn make_template(&self) {
        run_on(&self.server, "CREATE DATABASE ready");
        let server = Server { database: "ready".to_owned(), ..self.server.clone() };
        let catalog = Catalog::new(RouterFlavor::default(), Vec::new());
        let layout = Arc::new(Layout::of(&catalog));
        let settings = PostgresSettings::of(server.clone());
        let store =
            Postgres::new(settings, layout, catalog.entities().cloned(), Uuid::new_v4(), system_clock()).unwrap();
        assert!(store.migrations().bootstrap().unwrap());
        let notes = "CREATE TABLE notes (id uuid PRIMARY KEY, consumer_id uuid REFERENCES consumers (id), tags text[])";
        run_on(&server, notes);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.told.take());
        let _ = self.process.wait();
    }
}

/// The server that tests share; it ends with the process, when its standard input does.
pub(super) fn shared() -> std::sync::MutexGuard<'static, PostgresServer> {
    static SERVER: OnceLock<Mutex<PostgresServer>> = OnceLock::new();
    let make = || {
        let server = PostgresServer::start();
        server.make_template();
        Mutex::new(server)
    };
    SERVER.get_or_init(make).lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A server of the test's own, and a folder.
pub(super) fn own() -> (PostgresServer, Directory) {
    let server = PostgresServer::start();
    server.make_template();
    (server, Directory::new())
}
