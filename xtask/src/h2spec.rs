//! `make h2spec`: the conformance tests of HTTP/2 (RFC 9113) and HPACK (RFC 7541), strict ones included, against the TLS and
//! the cleartext listener of a fresh gateway.

use crate::gateway::{Gateway, Setting};
use crate::{project, upstream};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From the Go module proxy.
const PACKAGE: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The gateway's program; built if not given
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The cargo profile to build with
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Only installs h2spec
    #[arg(long)]
    install: bool,
    /// Only this section of the tests, such as http2/6.9
    section: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let tool = installed()?;
    if options.install {
        return Ok(());
    }
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("no program at {}", path.display()))?,
        None => project::build_gateway(&options.profile)?,
    };
    let folder = project::scratch("h2spec")?;
    let listener = upstream::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let kong_yml = folder.join("kong.yml");
    let at = listener.local_addr()?;
    project::write(
        &kong_yml,
        format!("_format_version: \"3.0\"\nservices:\n  - url: http://{at}\n    routes:\n      - paths: [/]\n"),
    )?;
    std::thread::spawn(move || upstream::serve(&listener));
    let properties = [
        ("database", "off".to_owned()),
        ("declarative_config", kong_yml.display().to_string()),
        ("nginx_worker_processes", "1".to_owned()),
    ];
    let setting = Setting { binary: &binary, folder: &folder, properties: &properties, core: None };
    let mut gateway = Gateway::start(&setting)?;
    // `http2` of the TLS listener holds for the whole server, as in nginx.
    let passed = [(gateway.ports.proxy, false), (gateway.ports.tls, true)].map(|(at, is_tls)| {
        println!("h2spec {} {at}", if is_tls { "by TLS" } else { "in the clear" });
        ask(&tool, at, is_tls, options)
    });
    gateway.running.fail_if_ended()?;
    for is_passed in passed {
        ensure!(is_passed?, "not every test passed; the gateway's log is in {}", folder.display());
    }
    Ok(())
}

fn ask(tool: &Path, at: SocketAddr, is_tls: bool, options: &Options) -> Result<bool> {
    let mut command = Command::new(tool);
    command.args(["--strict", "--timeout", "5", "--host", &at.ip().to_string(), "--port", &at.port().to_string()]);
    if is_tls {
        command.args(["--tls", "--insecure"]);
    }
    command.args(options.section.iter());
    let output = command.output().context("cannot run h2spec")?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Everything where something failed, else the count.
    let shown = if output.status.success() { said.trim_end().lines().last().unwrap_or_default() } else { &said };
    println!("{shown}");
    Ok(output.status.success())
}

/// The program, which is kept from run to run.
fn installed() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let target = program.ancestors().nth(2).context("this program lies in no target folder")?;
    let folder = target.join("xtask").join("go");
    let tool = folder.join("h2spec");
    if !tool.exists() {
        println!("installing {PACKAGE}");
        let status = Command::new("go")
            .args(["install", PACKAGE])
            .env("GOBIN", &folder)
            .status()
            .context("cannot run go, which installs h2spec (Debian's package golang-go)")?;
        ensure!(status.success(), "go install {PACKAGE} failed");
    }
    Ok(tool)
}
