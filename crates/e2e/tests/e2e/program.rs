//! The program under test: built once, run with commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The built `silverback`, from the profile that the tests are built with; or another one, named by E2E_PROGRAM.
pub(crate) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "the ban protects the program; this is its test")]
        if let Some(path) = std::env::var_os("E2E_PROGRAM") {
            return path.into();
        }
        let me = std::env::current_exe().unwrap();
        // target/debug/deps/e2e-0123
        let folder = me.ancestors().nth(2).unwrap();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        // `--workspace` gives the dependencies the features that `cargo test --workspace` built them with. A fresh program
        // takes cargo no time; an old one would make the tests lie.
        let built = Command::new(env!("CARGO"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .args(["build", "--quiet", "--workspace", "--bin", "silverback", "--profile", profile])
            .status()
            .unwrap();
        assert!(built.success(), "the program does not build");
        let path = folder.join("silverback");
        assert!(path.exists(), "no program at {}", path.display());
        path
    })
}

/// The program with an environment that has nothing of the developer's in it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(path());
    command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent");
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Both outputs as one text: where a message goes is not what most tests are about.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
