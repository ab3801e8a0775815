//! Redis servers of a test's own: on ports of their own, in folders of their own, without data kept on disk. One alone, a
//! cluster of three, or a master and a replica that a sentinel watches.

use crate::gateway::{eventually, free_address, signal};
use crate::packages;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub(crate) struct Redis {
    pub(crate) at: SocketAddr,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::start_with(free_address(), &[])
    }

    /// `at` is where it is asked by tests, without TLS.
    pub(crate) fn start_with(at: SocketAddr, arguments: &[&str]) -> Redis {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Redis { at, folder: tempfile::tempdir().unwrap(), arguments, child: None };
        redis.begin();
        redis
    }

    /// Starts it, empty.
    pub(crate) fn begin(&mut self) {
        self.begin_from(None);
    }

    fn begin_from(&mut self, conf: Option<&str>) {
        let mut command = Command::new(packages::program("redis-server", "redis-server"));
        command.args(conf).args(["--port", &self.at.port().to_string(), "--bind", "127.0.0.1"]);
        if conf.is_none() {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        eventually("redis answers", || self.ask(&["PING"]) == "PONG");
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            signal(child.id(), name);
        }
    }

    pub(crate) fn is_of_whole_cluster(&self) -> bool {
        self.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    }

    /// A command's answer, as redis-cli prints it.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new(packages::program("redis-cli", "redis-tools"));
        cli.args(["-p", &self.at.port().to_string()]).args(command).stderr(Stdio::null());
        String::from_utf8_lossy(&cli.output().unwrap().stdout).trim().to_owned()
    }
}

fn texts(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Three masters.
pub(crate) fn cluster() -> Vec<Redis> {
    cluster_with(|_| Vec::new())
}

/// Three masters with arguments of their own.
pub(crate) fn cluster_with(more: impl Fn(usize) -> Vec<String>) -> Vec<Redis> {
    let start = |at| {
        let bus = free_address().port().to_string();
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
        let more = more(at);
        Redis::start_with(free_address(), &[&arguments[..], &texts(&more)].concat())
    };
    let nodes: Vec<Redis> = (0..3).map(start).collect();
    let mut create = Command::new(packages::program("redis-cli", "redis-tools"));
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| node.at.to_string())).arg("--cluster-yes");
    let created = create.stdin(Stdio::null()).output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    eventually("the cluster is whole", || nodes.iter().all(Redis::is_of_whole_cluster));
    nodes
}

/// A master `main` and its replica, and a sentinel that watches them.
pub(crate) struct Watched {
    pub(crate) servers: [Redis; 2],
    pub(crate) sentinel: Redis,
}

impl Watched {
    pub(crate) fn start() -> Watched {
        Watched::start_with([Vec::new(), Vec::new()], Vec::new(), None)
    }

    /// With arguments of their own, and the ports under which they know each other if not the ones that tests ask.
    pub(crate) fn start_with(servers: [Vec<String>; 2], sentinel: Vec<String>, ports: Option<[u16; 2]>) -> Watched {
        let master = Redis::start_with(free_address(), &texts(&servers[0]));
        let port = ports.map_or(master.at.port(), |[master, _]| master).to_string();
        let replicated = [&["--replicaof", "127.0.0.1", &port][..], &texts(&servers[1])].concat();
        let replica = Redis::start_with(free_address(), &replicated);
        let known = ports.map_or(replica.at.port(), |[_, replica]| replica).to_string();
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 2000\n"
        );
        std::fs::write(&conf, text).unwrap();
        let arguments = [vec!["--sentinel".to_owned()], sentinel].concat();
        let mut sentinel = Redis { at: free_address(), folder, arguments, child: None };
        sentinel.begin_from(Some(conf.to_str().unwrap()));
        eventually("the sentinel knows the replica", || {
            sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).contains(&known)
        });
        Watched { servers: [master, replica], sentinel }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
