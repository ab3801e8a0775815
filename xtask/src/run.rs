//! `make run`: builds the gateway, starts an upstream and the gateway from examples/kong.yml, and prints requests to try.

use crate::{client, project, upstream};
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the services of examples/kong.yml point to.
const UPSTREAM: &str = "127.0.0.1:9080";
/// Proxy, Admin API and status, as Kong has them.
const PORTS: [u16; 5] = [8000, 8443, 8001, 8444, 8007];
const STATUS: &str = "127.0.0.1:8007";
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The cargo profile to build with: dev builds soonest, release runs fastest
    #[arg(long, default_value = "dev")]
    profile: String,
    /// The gateway's program; built if not given
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(path) => path.clone(),
        None => {
            println!("building the gateway ({}): minutes the first time, seconds after that", options.profile);
            project::build_gateway(&options.profile)?
        }
    };
    for port in PORTS {
        // The gateway would say so too, but an answer of somebody else's program at these ports would look like its own.
        TcpListener::bind(("0.0.0.0", port))
            .with_context(|| format!("port {port} is in use, and the gateway needs it: end what listens there"))?;
    }
    let listener = upstream::bind(UPSTREAM.parse()?)
        .context("the upstream of examples/kong.yml needs that port: end what uses it and try again")?;
    std::thread::spawn(move || upstream::serve(&listener));

    let prefix = project::scratch("run")?;
    let mut gateway = Command::new(&binary)
        .arg("run")
        .env("SILVERBACK_PREFIX", &prefix)
        .env("SILVERBACK_DATABASE", "off")
        .env("SILVERBACK_DECLARATIVE_CONFIG", project::root().join("examples/kong.yml"))
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    // The sockets take connections before the configuration is read: only the status listener tells that it serves.
    let end = Instant::now() + START_LIMIT;
    let status: SocketAddr = STATUS.parse()?;
    while !client::get(status, "/status/ready", &[]).is_ok_and(|answer| answer.status == 200) {
        if let Some(status) = gateway.try_wait()? {
            bail!("the gateway ended with {status}; what it printed above says why");
        }
        if Instant::now() > end {
            gateway.kill()?;
            bail!(
                "the gateway is not ready after {START_LIMIT:?}; http://{STATUS}/status/ready and its logs may say why"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{}", project::read(&project::root().join("examples/requests.txt"))?);
    println!("The gateway's files and logs are in {}. Ctrl-C ends it.", prefix.display());
    let status = gateway.wait()?;
    if !status.success() {
        bail!("the gateway ended with {status}");
    }
    Ok(())
}
