//! nginx as the upstream of every case and as the proxy that the gateway is compared with.

use super::{LOAD_CORE, PROXY_CORE, proxies::Certificate};
use crate::process::{Running, free_address, pinned};
use crate::project;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The answer of the upstream: 100 bytes.
const BODY: &str = concat!(
    "0123456789012345678901234567890123456789012345678\n",
    "0123456789012345678901234567890123456789012345678\n"
);
pub(super) const BIG_BODY: usize = 1024 * 1024;
const START_LIMIT: Duration = Duration::from_secs(10);

/// Starts an upstream that answers 100 bytes, and 1 MiB under /mib.
pub(super) fn upstream(folder: &Path) -> Result<(Running, SocketAddr)> {
    let at = free_address()?;
    std::fs::create_dir_all(folder)?;
    project::write(&folder.join("mib"), vec![b'x'; BIG_BODY])?;
    let (body, root) = (BODY.replace('\n', "\\n"), folder.display());
    let server = format!(
        "access_log off;\n\
         server {{\n    listen {at} backlog=16384;\n    default_type text/plain;\n    root {root};\n\
             location / {{ return 200 \"{body}\"; }}\n\
             location /mib {{ sendfile on; tcp_nopush on; open_file_cache max=10; }}\n}}\n"
    );
    Ok((start("the upstream", folder, &server, at, LOAD_CORE)?, at))
}

/// Starts nginx as a proxy with connections to the upstream kept alive.
pub(super) fn proxy(
    folder: &Path,
    upstream: SocketAddr,
    (http, tls): (SocketAddr, SocketAddr),
    certificate: &Certificate,
    access_log: bool,
) -> Result<Running> {
    std::fs::create_dir_all(folder)?;
    let log = match access_log {
        true => format!("access_log {}/access.log combined buffer=64k flush=1s;", folder.display()),
        false => "access_log off;".to_owned(),
    };
    let (file, key) = (certificate.file.display(), certificate.key.display());
    let server = format!(
        "{log}\n\
         upstream up {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}\n\
         server {{\n    listen {http} backlog=16384;\n    listen {tls} ssl http2 backlog=16384;\n\
             ssl_certificate {file};\n    ssl_certificate_key {key};\n    ssl_protocols TLSv1.2 TLSv1.3;\n\
             location / {{\n        proxy_pass http://up;\n        proxy_http_version 1.1;\n        \
                 proxy_set_header Host $host;\n        proxy_set_header Connection \"\";\n    }}\n}}\n"
    );
    start("nginx", folder, &server, http, PROXY_CORE)
}

fn start(name: &str, folder: &Path, server: &str, at: SocketAddr, core: usize) -> Result<Running> {
    let path = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
        .concat();
    // As root, workers would change to a user who may not enter the scratch folder.
    let user = if is_root() { "user root;\n" } else { "" };
    let text = format!(
        "{user}daemon off;\nworker_processes 1;\n\npid {path}/nginx.pid;\n\
         error_log {path}/error.log;\nevents {{ worker_connections 12000; }}\n\
         http {{\n{temporary}keepalive_requests 1000000000;\nclient_max_body_size 0;\n{server}}}\n"
    );
    let file = folder.join("nginx.conf");
    project::write(&file, text)?;
    let mut command = pinned(core, Path::new("nginx"));
    command.arg("-p").arg(folder).arg("-c").arg(&file).args(["-e", &format!("{path}/error.log")]);
    let mut running = Running::start(name, command, &folder.join("nginx.log"))?;
    running.wait_until_listening(at, START_LIMIT).with_context(|| {
        let said = project::read(&folder.join("nginx.log")).unwrap_or_default();
        format!("{name} does not start: {said}")
    })?;
    Ok(running)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
