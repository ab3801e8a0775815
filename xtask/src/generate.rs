//! Files of the docs that the program writes itself, and whether they are what it would write now.

use crate::project;
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

/// Each file with the command that prints it.
const FILES: [(&str, &[&str]); 3] = [
    ("docs/reference/kong.conf.default", &["config", "default-conf"]),
    ("docs/openapi.json", &["admin-api", "openapi"]),
    ("docs/admin-api.md", &["admin-api", "reference"]),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say whether they are fresh
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = project::build_gateway("dev")?;
    let mut old = Vec::new();
    for (file, arguments) in FILES {
        let output = Command::new(&binary).args(arguments).output().context("cannot run the program")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`silverback {}` failed: {said}", arguments.join(" "));
        let path = project::root().join(file);
        if std::fs::read(&path).is_ok_and(|text| text == output.stdout) {
            continue;
        }
        if options.check {
            old.push(file);
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        project::write(&path, &output.stdout)?;
        println!("wrote {file}");
    }
    if !old.is_empty() {
        bail!("not what the program would write now: {}; run `make generate` and commit", old.join(", "));
    }
    Ok(())
}
