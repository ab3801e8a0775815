//! Programs of Debian that tests run beside the gateway. A missing one is installed; where that fails, so does the test.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The program of a package, which is installed through apt-get where it is missing.
pub(crate) fn program(name: &str, package: &str) -> String {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let found = || {
        let places = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"];
        places.iter().map(|place| format!("{place}/{name}")).find(|path| Path::new(path).exists())
    };
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = found() {
        return path;
    }
    let apt_get = |arguments: &[&str]| {
        // It does not wait for another one, which a script beside this program may have started.
        let mut command = Command::new("flock");
        command.arg(std::env::temp_dir().join("silverback-apt")).arg("apt-get").args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    let is_installed = apt_get(&install) || (apt_get(&["update"]) && apt_get(&install));
    assert!(is_installed, "{name} is missing and apt-get cannot install {package}: install it by hand and try again");
    found().unwrap_or_else(|| panic!("{package} has no {name}"))
}
