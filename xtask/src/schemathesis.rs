//! `make schemathesis`: the Admin API's own OpenAPI document is the plan by which Schemathesis asks a fresh gateway; no
//! answer may be a failure of the server.

use crate::gateway::{Gateway, Setting};
use crate::project;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// From PyPI, into a virtual environment of this command.
const PACKAGE: &str = "schemathesis==4.32.5";

/// Kong's own answer to it is 501.
const NOT_IMPLEMENTED: &str = "/status/dns";

struct Phase {
    name: &'static str,
    about: &'static str,
    /// Paths that it leaves out, as a regular expression.
    without: Option<&'static str>,
}

/// The boundaries of every field, then random requests.
const PHASES: [Phase; 2] = [
    Phase {
        name: "coverage",
        about: "the boundaries of every field, but of plugins, whose schemas combine to millions of them",
        without: Some("plugins|batch"),
    },
    Phase { name: "fuzzing", about: "random requests", without: None },
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Questions for each operation
    #[arg(long, default_value_t = 10)]
    examples: u32,
    /// Makes the same questions again
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Only operations whose path matches this regular expression
    #[arg(long)]
    paths: Option<String>,
    /// The gateway's program; built if not given
    #[arg(long)]
    binary: Option<PathBuf>,
    /// The cargo profile to build with
    #[arg(long, default_value = "dev")]
    profile: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(path) => path.canonicalize().with_context(|| format!("no program at {}", path.display()))?,
        None => project::build_gateway(&options.profile)?,
    };
    let tool = installed()?;
    let folder = project::scratch("schemathesis")?;
    let properties = [("nginx_worker_processes", "1".to_owned()), ("admin_audit_log", "logs/audit.log".to_owned())];
    let setting = Setting { binary: &binary, folder: &folder, properties: &properties, core: None };
    let mut gateway = Gateway::start(&setting)?;
    let admin = format!("http://{}", gateway.ports.admin);
    for phase in PHASES {
        println!("{}", phase.about);
        let mut command = Command::new(&tool);
        command
            .args(["run", &format!("{admin}/openapi.json"), "--url", &admin])
            .args(["--checks", "not_a_server_error", "--phases", phase.name, "--continue-on-failure"])
            .args(["--max-examples", &options.examples.to_string(), "--seed", &options.seed.to_string()])
            .args(["--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "20"])
            .args(["--exclude-path", NOT_IMPLEMENTED, "--warnings", "off", "--no-color"])
            .current_dir(&folder);
        if let Some(paths) = &options.paths {
            command.args(["--include-path-regex", paths]);
        }
        if let Some(paths) = phase.without {
            command.args(["--exclude-path-regex", paths]);
        }
        let status = command.status().context("cannot run schemathesis")?;
        gateway.running.fail_if_ended()?;
        ensure!(
            status.success(),
            "an answer was a failure of the server; the gateway's log is in {}",
            folder.display()
        );
    }
    Ok(())
}

/// The program in its virtual environment, which is kept from run to run.
fn installed() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let target = program.ancestors().nth(2).context("this program lies in no target folder")?;
    let environment = target.join("xtask").join("schemathesis-venv");
    let tool = environment.join("bin/schemathesis");
    if !tool.exists() {
        println!("installing {PACKAGE}");
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        succeed(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    }
    Ok(existing(&tool)?.to_path_buf())
}

fn existing(path: &Path) -> Result<&Path> {
    ensure!(path.exists(), "there is no {}", path.display());
    Ok(path)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
