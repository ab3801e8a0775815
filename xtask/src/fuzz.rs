//! `make fuzz`: the parsers under libFuzzer, which coverage leads, one target of fuzz/ after the other.
//!
//! It is built with the toolchain of the project and without a sanitizer, which only a nightly one has: what is looked for are
//! panics and readings that differ (`fuzzing` in the crates), not broken memory.

use crate::project;
use anyhow::{Context, Result, bail, ensure};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const VERSION: &str = "0.13.2";
/// Longer inputs find nothing that these do not, only later.
const LONGEST: usize = 2_048;
const BETWEEN_SIGNS: Duration = Duration::from_secs(10);
/// Of what a run says that is no sign of progress, for when it fails.
const LINES_KEPT: usize = 200;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which ones: the names in fuzz/targets; all if not given
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How many inputs each of them gets instead, the same ones in each run of the same build: for CI, where chance decides
    /// nothing
    #[arg(long, conflicts_with = "seconds")]
    inputs: Option<u64>,
    /// Only runs this input, of the one target that is named
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Only fetches what is needed, such as cargo-fuzz
    #[arg(long)]
    install: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let known = targets()?;
    for name in &options.targets {
        ensure!(known.contains(name), "there is no target {name}, but {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let folder = project::products()?.join("xtask").join("fuzz");
    let tool = installed()?;
    if options.install {
        let fetched =
            project::cargo().args(["fetch", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"]).status();
        ensure!(fetched.context("cannot run cargo")?.success(), "the crates of fuzz/ cannot be fetched");
        return Ok(());
    }
    build(&tool, &folder, &options.targets)?;
    if let Some(input) = &options.replay {
        let [target] = &chosen[..] else { bail!("--replay needs the name of one target") };
        let status = program(&folder, target)?.arg(input).status().context("cannot run the target")?;
        ensure!(status.success(), "{target} fails with {}", input.display());
        return Ok(());
    }
    let mut failed = Vec::new();
    for target in chosen {
        if !fuzz(&folder, target, options)? {
            failed.push(target.as_str());
        }
    }
    // As the player of the recorded cases closes, for .ci/run.
    println!("{} passed, {} failed, 0 skipped", chosen.len() - failed.len(), failed.len());
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = project::root().join("fuzz/targets");
    let files = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let names = files.map(|file| Ok(file?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// cargo-fuzz, which is kept from run to run.
fn installed() -> Result<PathBuf> {
    let folder = project::products()?.join("xtask").join("cargo-fuzz");
    let tool = folder.join("bin").join("cargo-fuzz");
    if !tool.exists() {
        println!("installing cargo-fuzz {VERSION}");
        let status = project::cargo()
            .args(["install", "--quiet", "--locked", "cargo-fuzz", "--version", VERSION, "--root"])
            .arg(&folder)
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "cargo install cargo-fuzz failed");
    }
    Ok(tool)
}

fn build(tool: &Path, folder: &Path, targets: &[String]) -> Result<()> {
    let began = Instant::now();
    // All at once, or one: cargo-fuzz knows nothing between.
    let one = if let [target] = targets { Some(target) } else { None };
    let status = Command::new(tool)
        .args(["fuzz", "build", "--fuzz-dir", "fuzz", "--sanitizer", "none", "--codegen-units", "16"])
        // What is fuzzed is what runs: some crates do less under `cfg(fuzzing)`.
        .arg("--no-cfg-fuzzing")
        .arg("--target-dir")
        .arg(folder.join("build"))
        .args(one)
        .current_dir(project::root())
        .env("CARGO_TERM_QUIET", "true")
        .status()
        .context("cannot run cargo-fuzz")?;
    ensure!(status.success(), "the targets do not build");
    println!("built in {} s", began.elapsed().as_secs());
    Ok(())
}

/// The built target, with what holds for every run.
fn program(folder: &Path, target: &str) -> Result<Command> {
    let findings = folder.join("findings").join(target);
    std::fs::create_dir_all(&findings).with_context(|| format!("cannot make {}", findings.display()))?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(folder.join("build").join(triple).join("release").join(target));
    command.args([format!("-artifact_prefix={}/", findings.display()), format!("-max_len={LONGEST}")]);
    command.args(["-timeout=20", "-rss_limit_mb=2048"]);
    Ok(command)
}

/// Runs a target from its seeds and, where its time is what is given, what former runs have found worth keeping; tells whether
/// nothing failed.
fn fuzz(folder: &Path, target: &str, options: &Options) -> Result<bool> {
    let (limits, corpus) = match options.inputs {
        None => {
            println!("{target}: {} s", options.seconds);
            (vec![format!("-max_total_time={}", options.seconds)], folder.join("corpus").join(target))
        }
        Some(inputs) => {
            println!("{target}: {inputs} inputs");
            let corpus = folder.join("new").join(target);
            if corpus.exists() {
                std::fs::remove_dir_all(&corpus).with_context(|| format!("cannot empty {}", corpus.display()))?;
            }
            (vec![format!("-runs={inputs}"), "-seed=1".to_owned()], corpus)
        }
    };
    std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let tree = project::root().join("fuzz");
    let mut running = program(folder, target)?
        .args(limits)
        .arg(format!("-dict={}", tree.join("words").join(target).display()))
        .args([&corpus, &tree.join("seeds").join(target)])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the target")?;
    let told = Told::of(BufReader::new(running.stderr.take().context("the target has no output")?));
    let status = running.wait()?;
    told.close(target, status);
    Ok(status.success())
}

/// What libFuzzer says: lines of progress begin with `#`, all others count where it fails.
#[derive(Default)]
struct Told {
    last: String,
    others: VecDeque<String>,
}

impl Told {
    fn of(said: impl BufRead) -> Told {
        let mut told = Told::default();
        let mut shown = Instant::now();
        for line in said.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit())) {
                told.last = line;
                if shown.elapsed() >= BETWEEN_SIGNS {
                    shown = Instant::now();
                    println!("  {}", told.progress());
                }
            } else {
                told.others.truncate(LINES_KEPT - 1);
                told.others.push_front(line);
            }
        }
        told
    }

    /// `12345 inputs, cov: 321 ft: 987 corp: 80/9kb exec/s: 5000 rss: 60Mb`.
    fn progress(&self) -> String {
        let mut words = self.last.split_whitespace();
        let count = words.next().unwrap_or("#0").trim_start_matches('#').to_owned();
        let rest: Vec<&str> = words.skip_while(|word| *word != "cov:").take_while(|word| *word != "L:").collect();
        format!("{count} inputs, {}", rest.join(" "))
    }

    fn close(&self, target: &str, status: ExitStatus) {
        if status.success() {
            println!("  {}: nothing failed", self.progress());
            return;
        }
        self.others.iter().rev().for_each(|line| println!("  {line}"));
        println!("{target} failed ({status})");
        if let Some(file) = self.finding() {
            println!(
                "again: make fuzz ARGS=\"{target} --replay {file}\"\nfor good: cp {file} fuzz/seeds/{target}/what-went-wrong"
            );
        }
    }

    /// The file of the input that failed.
    fn finding(&self) -> Option<&str> {
        self.others.iter().find_map(|line| line.split_once("Test unit written to ")).map(|(_, file)| file)
    }
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let said = b"INFO: Running with entropic power schedule (0xFF, 100).\n\
            #2\tINITED cov: 90 ft: 91 corp: 1/1b exec/s: 0 rss: 40Mb\n\
            #1024\tpulse  cov: 321 ft: 987 corp: 80/9kb lim: 17 exec/s: 512 rss: 60Mb\n\
            ###### End of recommended dictionary. ######\nthread panicked\nartifact_prefix='x/'; Test unit written to x/crash-1\n";
        let told = Told::of(&said[..]);
        assert_eq!(told.progress(), "1024 inputs, cov: 321 ft: 987 corp: 80/9kb lim: 17 exec/s: 512 rss: 60Mb");
        assert_eq!(told.finding(), Some("x/crash-1"));
        assert_eq!(
            told.others.back().map(String::as_str),
            Some("INFO: Running with entropic power schedule (0xFF, 100).")
        );
    }

    #[test]
    fn every_target_stands_in_the_manifest() {
        let manifest = crate::project::read(&crate::project::root().join("fuzz/Cargo.toml")).unwrap();
        for target in super::targets().unwrap() {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
    }
}
