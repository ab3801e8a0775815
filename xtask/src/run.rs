//! `make run`: builds the gateway, starts an upstream and the gateway from examples/kong.yml, and prints requests to try.

use crate::{project, upstream};
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the services of examples/kong.yml point to.
const UPSTREAM: &str = "127.0.0.1:9080";
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The cargo profile to build with: dev builds soonest, release runs fastest
    #[arg(long, default_value = "dev")]
    profile: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    println!("building the gateway ({}): minutes the first time, seconds after that", options.profile);
    let binary = project::build_gateway(&options.profile)?;
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
    // A debug build has no reason to be waited for longer than it takes: ports decide, not seconds.
    let end = Instant::now() + START_LIMIT;
    let proxy: SocketAddr = "127.0.0.1:8000".parse()?;
    while TcpStream::connect(proxy).is_err() {
        if let Some(status) = gateway.try_wait()? {
            bail!("the gateway ended with {status}; what it printed above says why");
        }
        if Instant::now() > end {
            gateway.kill()?;
            bail!("the gateway does not listen on {proxy} after {START_LIMIT:?}");
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
