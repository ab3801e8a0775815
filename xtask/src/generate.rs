//! Files of the docs that the program writes itself, and whether they are what it would write now.

use crate::project;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Each file with the command that prints it.
const FILES: [(&str, &[&str]); 3] = [
    ("docs/reference/kong.conf.default", &["config", "default-conf"]),
    ("docs/openapi.json", &["admin-api", "openapi"]),
    ("docs/admin-api.md", &["admin-api", "reference"]),
];

/// Where the pages of the plugins are.
const PLUGINS: &str = "docs/plugins";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say whether they are fresh
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = project::build_gateway("dev")?;
    let mut files = Vec::new();
    for (file, arguments) in FILES {
        files.push((file.to_owned(), ask(&binary, arguments)?));
    }
    files.extend(plugins(&binary)?);
    let mut old = left_over(&files)?;
    for (file, text) in &files {
        let path = project::root().join(file);
        if std::fs::read(&path).is_ok_and(|known| known == text.as_bytes()) {
            continue;
        }
        if options.check {
            old.push(file.clone());
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        project::write(&path, text)?;
        println!("wrote {file}");
    }
    if !old.is_empty() {
        bail!("not what the program would write now: {}; run `make generate` and commit", old.join(", "));
    }
    Ok(())
}

fn ask(binary: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary).args(arguments).output().context("cannot run the program")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`silverback {}` failed: {said}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// The pages of the plugins and their index. A page is what the plugin's `mod.rs` says of it, what the program says of its
/// configuration, and the `docs.md` beside the code, whose examples the end-to-end tests run.
fn plugins(binary: &Path) -> Result<Vec<(String, String)>> {
    let mut index = "<!-- Written by `make generate`. -->\n# Plugins\n\nIn the order in which they run.\n\n| plugin | priority | |\n|---|---|---|\n".to_owned();
    let mut files = Vec::new();
    for name in ask(binary, &["admin-api", "plugins"])?.lines() {
        let source = format!("crates/plugins/src/{}", name.replace('-', "_"));
        let about = about(&project::read(&project::root().join(&source).join("mod.rs"))?, name)?;
        let reference = ask(binary, &["admin-api", "plugins", name])?;
        let more = std::fs::read_to_string(project::root().join(&source).join("docs.md"));
        let more = more.with_context(|| format!("{source}/docs.md: see CONTRIBUTING.md, \"Add a plugin\""))?;
        let priority = reference.lines().find_map(|line| line.strip_prefix("| priority | ")?.strip_suffix(" |"));
        let text = about.replace('\n', " ");
        let first = text.split_inclusive(". ").next().unwrap_or_default().trim();
        writeln!(index, "| [{name}]({name}.md) | {} | {first} |", priority.unwrap_or_default())?;
        let note = format!("<!-- Written by `make generate` from {source}: mod.rs, the schema, docs.md. -->");
        files.push((
            format!("{PLUGINS}/{name}.md"),
            format!("{note}\n# {name}\n\n{about}\n\n{reference}\n{}", more.trim_start()),
        ));
    }
    files.push((format!("{PLUGINS}/README.md"), index));
    Ok(files)
}

/// What a plugin's code says of it: the first comment, without its heading.
fn about(code: &str, name: &str) -> Result<String> {
    let lines = code.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text
        .strip_prefix(&format!("# {name}\n"))
        .with_context(|| format!("{name}: mod.rs must open with `//! # {name}`"))?;
    Ok(text.trim().to_owned())
}

/// Pages of plugins that are not there any more.
fn left_over(files: &[(String, String)]) -> Result<Vec<String>> {
    let folder = project::root().join(PLUGINS);
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut old = Vec::new();
    for entry in entries {
        let name = format!("{PLUGINS}/{}", entry?.file_name().to_string_lossy());
        if !files.iter().any(|(file, _)| *file == name) {
            old.push(name);
        }
    }
    Ok(old)
}
