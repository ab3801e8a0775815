//! Where things of the project lie, and the built gateway.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The recorded cases of Kong: beside the project where it is developed, absent elsewhere.
pub(crate) fn recorded_cases() -> PathBuf {
    root().join("../shared/conformance")
}

/// The cargo that runs this program, or the one on the path where it was started by hand.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the gateway with a profile of the workspace and says where the program lies.
pub(crate) fn build_gateway(profile: &str) -> Result<PathBuf> {
    build(profile, "--bin", "silverback")
}

/// Builds a program of the workspace (`--bin` or `--example`) and says where it lies.
pub(crate) fn build(profile: &str, kind: &str, name: &str) -> Result<PathBuf> {
    // `--workspace` gives the dependencies the same features as `cargo test --workspace`: nothing is built twice.
    let output = cargo()
        .args(["build", "--quiet", "--workspace", kind, name, "--profile", profile])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{name} does not build (profile {profile})");
    }
    // cargo tells the path itself, so that no setting of the target folder has to be read here.
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if message["target"]["name"] == name
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no program named {name}")
}

/// An environment variable of a developer's shell.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the ban protects the gateway; this is a tool beside it")]
    std::env::var(name).ok()
}

/// The lines of a list file that are neither empty nor a comment.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The folder of the build products.
pub(crate) fn products() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    Ok(program.ancestors().nth(2).context("this program lies in no target folder")?.to_path_buf())
}

/// A fresh folder for one command's files, beside the build products; it stays until the next run, for its logs.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let folder = products()?.join("xtask").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Writes a file and says which one where that fails.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a file and says which one where that fails.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
