//! `make dist`: the program as it is shipped, optimised by a profile of its own traffic (profile-guided optimisation): built
//! to count what it does, put under the traffic of the bench, built again with the counts.
//!
//! Both builds have a folder of their own: their flags would make cargo build everything else anew.

use crate::{bench, project};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The profile of the counting build: like release, but built in a third of the time.
const COUNTING: &str = "quick";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Take the counts of the last run instead of new ones
    #[arg(long)]
    keep_counts: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    println!("built {}", build(options.keep_counts)?.display());
    Ok(())
}

/// Builds the program and says where it lies. Counts that are `kept` save the half of the time; parts of the program that are
/// newer than they are built without.
pub(crate) fn build(keep_counts: bool) -> Result<PathBuf> {
    let folder = project::products()?.join("dist");
    let counts = folder.join("counts.profdata");
    if !(keep_counts && counts.exists()) {
        count(&folder, &counts)?;
    }
    println!("building the program with the counts");
    let flags = format!("-Cprofile-use={}", counts.display());
    project::build_gateway_with("release", &flags, &folder)
}

/// Builds the counting program, has it work, and merges what it counted.
fn count(folder: &Path, counts: &Path) -> Result<()> {
    let merge = profdata()?;
    let raw = folder.join("raw");
    if raw.exists() {
        std::fs::remove_dir_all(&raw).with_context(|| format!("cannot empty {}", raw.display()))?;
    }
    println!("building a program that counts what it does");
    let flags = format!("-Cprofile-generate={}", raw.display());
    let program = project::build_gateway_with(COUNTING, &flags, folder)?;
    println!("counting");
    bench::train(&program)?;
    let output = Command::new(merge).arg("merge").arg("-o").arg(counts).arg(&raw).output()?;
    ensure!(output.status.success(), "the counts cannot be merged: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The program that merges counts, from the toolchain that writes and reads them: rustup's `llvm-tools`.
fn profdata() -> Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).current_dir(project::root()).output()?;
    let libraries = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let path = libraries.with_file_name("bin").join("llvm-profdata");
    if !path.exists() {
        let added =
            Command::new("rustup").args(["component", "add", "llvm-tools"]).current_dir(project::root()).status();
        if !added.is_ok_and(|status| status.success()) || !path.exists() {
            bail!("{} is missing: `rustup component add llvm-tools` brings it", path.display());
        }
    }
    Ok(path)
}
