//! A gateway started for a measurement or for the recorded cases: private ports, a configuration file of its own, and
//! nothing taken from the environment.

use crate::process::{Running, pinned};
use crate::{client, project};
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Also long enough for a start from a store of millions of rows.
const START_LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Gateway {
    pub(crate) running: Running,
    pub(crate) ports: Ports,
    prefix: PathBuf,
    binary: PathBuf,
}

#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) proxy: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) status: SocketAddr,
}

/// What a gateway is started with.
pub(crate) struct Setting<'a> {
    pub(crate) binary: &'a Path,
    /// Where its configuration, prefix and logs go.
    pub(crate) folder: &'a Path,
    /// Properties beyond the listeners, the prefix and the log level.
    pub(crate) properties: &'a [(&'a str, String)],
    /// The one processor core it may use.
    pub(crate) core: Option<usize>,
}

impl Ports {
    pub(crate) fn free() -> Result<Ports> {
        // All are held until all are known: else the same port could come twice.
        let held: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().context("no free port")?;
        let at = |n: usize| held.get(n).context("four were bound")?.local_addr().context("a bound port has an address");
        Ok(Ports { proxy: at(0)?, tls: at(1)?, admin: at(2)?, status: at(3)? })
    }
}

impl Gateway {
    /// Writes the configuration, starts the gateway and waits until it takes connections.
    pub(crate) fn start(setting: &Setting<'_>) -> Result<Gateway> {
        let mut gateway = Gateway::spawn(setting)?;
        gateway.wait_until_ready().with_context(|| {
            let log = project::read(&setting.folder.join("gateway.log")).unwrap_or_default();
            format!("the gateway did not start; it said:\n{log}")
        })?;
        Ok(gateway)
    }

    /// The sockets take connections before the configuration is read: an answer of the Admin API tells that it was.
    fn wait_until_ready(&mut self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        while !client::get(self.ports.admin, "/", &[]).is_ok_and(|answer| answer.status == 200) {
            self.running.fail_if_ended()?;
            anyhow::ensure!(Instant::now() < end, "no answer of the Admin API after {START_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Makes the tables of a database.
    pub(crate) fn migrate(setting: &Setting<'_>) -> Result<()> {
        let (file, _) = write_configuration(setting, Ports::free()?)?;
        let mut command = Command::new(setting.binary);
        command.args(["migrations", "bootstrap", "-c"]).arg(&file);
        clean_environment(&mut command);
        let output = command.output().context("cannot run `silverback migrations`")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`silverback migrations bootstrap` failed: {said}");
        Ok(())
    }

    /// The same without waiting.
    pub(crate) fn spawn(setting: &Setting<'_>) -> Result<Gateway> {
        let ports = Ports::free()?;
        let (file, prefix) = write_configuration(setting, ports)?;
        let mut command = match setting.core {
            Some(core) => pinned(core, setting.binary),
            None => Command::new(setting.binary),
        };
        command.arg("run").arg("-c").arg(&file).current_dir(setting.folder);
        clean_environment(&mut command);
        let running = Running::start("the gateway", command, &setting.folder.join("gateway.log"))?;
        Ok(Gateway { running, ports, prefix, binary: setting.binary.to_path_buf() })
    }

    /// `silverback reload` of this very gateway.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("reload").arg("-p").arg(&self.prefix);
        if let Some(folder) = self.prefix.parent() {
            command.arg("-c").arg(folder.join("kong.conf"));
        }
        clean_environment(&mut command);
        let output = command.output().context("cannot run `silverback reload`")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`silverback reload` failed: {said}");
        Ok(())
    }

    /// Puts the program that now lies at the old one's path in its place.
    pub(crate) fn upgrade(&self) -> Result<()> {
        self.running.signal("USR2")
    }

    /// The process that watches the worker.
    pub(crate) fn supervisor(&self) -> Result<u32> {
        let file = self.prefix.join("pids/nginx.pid");
        project::read(&file)?.trim().parse().with_context(|| format!("{} holds no process id", file.display()))
    }
}

/// Writes the configuration file; where it is, and where the prefix is.
fn write_configuration(setting: &Setting<'_>, ports: Ports) -> Result<(PathBuf, PathBuf)> {
    let prefix = setting.folder.join("prefix");
    std::fs::create_dir_all(&prefix)?;
    let file = setting.folder.join("kong.conf");
    project::write(&file, configuration(ports, &prefix, setting.properties))?;
    Ok((file, prefix))
}

/// A developer's own SILVERBACK_ and KONG_ variables must not decide what is measured.
fn clean_environment(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = project::variable(name) {
            command.env(name, value);
        }
    }
}

fn configuration(ports: Ports, prefix: &Path, properties: &[(&str, String)]) -> String {
    let Ports { proxy, tls, admin, status } = ports;
    let mut text = format!(
        "prefix = {}\n\
         proxy_listen = {proxy} reuseport backlog=16384, {tls} http2 ssl reuseport backlog=16384\n\
         admin_listen = {admin}\n\
         status_listen = {status}\n\
         admin_gui_listen = off\n",
        prefix.display()
    );
    for (name, value) in properties {
        text += &format!("{name} = {}\n", value.replace('#', "\\#"));
    }
    text
}
