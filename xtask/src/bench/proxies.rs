//! The two proxies of a case, started with the same task, and the configuration files that give the gateway its task.

use super::{PROXY_CORE, nginx};
use crate::gateway::{Gateway, Ports, Setting};
use crate::process::Running;
use crate::project;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(super) const KEY: &str = "a-key-of-the-benchmark";

/// What is measured, and how.
pub(super) struct Bench {
    pub(super) candidate: Candidate,
    pub(super) scratch: PathBuf,
    pub(super) rounds: usize,
    /// Where it was asked for.
    pub(super) time: Option<Duration>,
    pub(super) connections: usize,
    pub(super) access_log: bool,
    /// Of the soak.
    pub(super) minutes: u32,
    /// The cases of `traffic-plugins` that are asked for; all, where none is.
    pub(super) plugins: Vec<String>,
}

pub(super) enum Candidate {
    Gateway(PathBuf),
    /// nginx against itself: how far apart two equal proxies are measured.
    Nginx,
}

/// What the gateway has to do for a request; nginx only proxies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// As many routes, each with a path of its own: `/r0`, `/r1`, ...; one route takes every path.
    Routes(usize),
    /// One route with a path of its own.
    Path,
    /// As many routes of all kinds: see [`mixed`].
    Mixed(usize),
    /// One route behind key-auth and rate-limiting.
    KeyAndRate,
    /// One route with time-outs, a retry policy and a form of path of its own.
    Terms,
}

pub(super) struct Certificate {
    pub(super) file: PathBuf,
    pub(super) key: PathBuf,
}

/// A running proxy.
pub(super) struct Proxy {
    pub(super) running: Running,
    pub(super) http: SocketAddr,
    pub(super) tls: SocketAddr,
}

impl Candidate {
    pub(super) fn name(&self) -> String {
        match self {
            Candidate::Gateway(path) => path.display().to_string(),
            Candidate::Nginx => "nginx".to_owned(),
        }
    }

    /// The program, for measurements that only mean something for a gateway.
    pub(super) fn gateway(&self) -> Result<&Path> {
        match self {
            Candidate::Gateway(path) => Ok(path),
            Candidate::Nginx => anyhow::bail!("nginx is no candidate for this"),
        }
    }
}

impl Certificate {
    /// A self-signed one on the P-256 curve, as Kong makes for clients that know it.
    pub(super) fn make(folder: &Path) -> Result<Certificate> {
        std::fs::create_dir_all(folder)?;
        let made = Certificate { file: folder.join("bench.crt"), key: folder.join("bench.key") };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.file)
            .output()
            .context("cannot run openssl")?;
        ensure!(output.status.success(), "openssl makes no certificate: {}", String::from_utf8_lossy(&output.stderr));
        Ok(made)
    }
}

impl Bench {
    /// How long a round of load takes.
    pub(super) fn time(&self) -> Duration {
        self.time_or(3)
    }

    /// The same for what takes so many seconds where nothing else was asked for.
    pub(super) fn time_or(&self, seconds: u64) -> Duration {
        self.time.unwrap_or(Duration::from_secs(seconds))
    }

    pub(super) fn start_nginx(&self, folder: &Path, upstream: SocketAddr, certificate: &Certificate) -> Result<Proxy> {
        let Ports { proxy: http, tls, .. } = Ports::free()?;
        let running = nginx::proxy(folder, upstream, (http, tls), certificate, self.access_log)?;
        Ok(Proxy { running, http, tls })
    }

    pub(super) fn start_candidate(
        &self,
        folder: &Path,
        task: Task,
        upstream: SocketAddr,
        certificate: &Certificate,
    ) -> Result<Proxy> {
        let Candidate::Gateway(binary) = &self.candidate else {
            return self.start_nginx(folder, upstream, certificate);
        };
        std::fs::create_dir_all(folder)?;
        let properties = self.properties(folder, &declarative(task, upstream), certificate)?;
        let core = Some(PROXY_CORE);
        let Gateway { running, ports, .. } =
            Gateway::start(&Setting { binary, folder, properties: &properties, core })?;
        Ok(Proxy { running, http: ports.proxy, tls: ports.tls })
    }

    /// What the gateway is started with: a kong.yml, one thread, and otherwise as it comes.
    pub(super) fn properties(
        &self,
        folder: &Path,
        kong_yml: &str,
        certificate: &Certificate,
    ) -> Result<Vec<(&'static str, String)>> {
        let file = folder.join("kong.yml");
        project::write(&file, kong_yml)?;
        let mut properties = vec![
            ("database", "off".to_owned()),
            ("declarative_config", file.display().to_string()),
            ("nginx_worker_processes", "1".to_owned()),
            ("ssl_cert", certificate.file.display().to_string()),
            ("ssl_cert_key", certificate.key.display().to_string()),
        ];
        if !self.access_log {
            properties.push(("proxy_access_log", "off".to_owned()));
        }
        Ok(properties)
    }
}

/// The kong.yml of a task.
pub(super) fn declarative(task: Task, upstream: SocketAddr) -> String {
    let mut text = "_format_version: \"3.0\"\n".to_owned();
    match task {
        Task::Routes(1) => text += &service("upstream", upstream, "      - name: everything\n        paths: [\"/\"]\n"),
        Task::Path => text += &service("upstream", upstream, "      - name: one\n        paths: [\"/r1000\"]\n"),
        Task::Terms => {
            let own = "read_timeout: 50000\n        request_timeout: 60000\n        retries: 2\n        path_forwarding: raw\n        \
                       retry_policy: { http_statuses: [503], backoff: 50 }\n";
            text += &service(
                "upstream",
                upstream,
                &format!("      - name: everything\n        paths: [\"/\"]\n        {own}"),
            );
        }
        Task::Routes(count) => {
            // A service serves a hundred routes, as a company's own do.
            text += "services:\n";
            for first in (0..count).step_by(100) {
                text += &format!("  - name: service-{first}\n    url: http://{upstream}\n    routes:\n");
                for n in first..count.min(first + 100) {
                    text += &format!("      - name: route-{n}\n        paths: [\"/r{n}\"]\n");
                }
            }
        }
        Task::Mixed(count) => {
            text += "services:\n";
            for first in (0..count).step_by(100) {
                text += &format!("  - name: service-{first}\n    url: http://{upstream}\n    routes:\n");
                for n in first..count.min(first + 100) {
                    text += &format!("      - {}\n", mixed(n));
                }
            }
        }
        Task::KeyAndRate => {
            text += &service("upstream", upstream, "      - name: everything\n        paths: [\"/\"]\n");
            // Never reached, so that every request is counted and passes.
            let limit = "minute: 1000000000\n        hour: 1000000000";
            text += &format!(
                "plugins:\n  - name: key-auth\n  - name: rate-limiting\n    config:\n        policy: local\n        {limit}\n\
                 consumers:\n  - username: load\n    keyauth_credentials:\n      - key: {KEY}\n"
            );
        }
    }
    text
}

/// The nth of many routes: a quarter by host, 5 % by regex, the rest by prefix.
pub(super) fn mixed(n: usize) -> serde_json::Value {
    let name = format!("route-{n}");
    match n % 20 {
        19 => serde_json::json!({ "name": name, "paths": [format!("~/r{n}/(?<id>[a-z]+)$")] }),
        at if at % 4 == 1 => serde_json::json!({ "name": name, "hosts": [format!("h{n}.test")], "paths": ["/"] }),
        _ => serde_json::json!({ "name": name, "paths": [format!("/r{n}")] }),
    }
}

fn service(name: &str, upstream: SocketAddr, routes: &str) -> String {
    format!("services:\n  - name: {name}\n    url: http://{upstream}\n    routes:\n{routes}")
}
