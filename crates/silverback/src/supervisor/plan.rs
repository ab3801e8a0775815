//! What the supervisor needs of a configuration. It is read by another process (or, at the start, by the program before it
//! becomes the supervisor): the supervisor lives long and stays small.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::sockets::ListenerKind;
use super::transfer;
use super::user::User;
use super::worker::take_stdin;
use crate::conf::{Conf, Listen, Source, Values};
use crate::error_log::Settings;

/// The hidden command that reads a configuration for the supervisor.
pub(crate) const PLAN: &str = "plan";

/// How long reading may take; names of listeners may have to be resolved.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) source: Source,
    /// What the worker gets, so that it has the configuration that was checked.
    pub(super) values: Values,
    pub(super) prefix: PathBuf,
    pub(super) threads: usize,
    pub(super) drain_timeout: Duration,
    pub(super) log: Settings,
    pub(super) user: Option<User>,
    pub(super) listeners: Vec<Listener>,
    pub(super) warnings: Vec<String>,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listener {
    pub(super) kind: ListenerKind,
    pub(super) listen: Listen,
    pub(super) address: Address,
}

impl Plan {
    /// Reads and checks the configuration, and makes the prefix ready for it.
    pub(super) fn read(source: Source) -> anyhow::Result<Self> {
        let values = source.read()?;
        let conf = Conf::new(&values)?;
        let listeners = listeners(&conf)?;
        conf.prepare_prefix()?;
        conf.node_id().with_context(|| format!("could not keep the node's id in {}", conf.prefix.display()))?;
        let user = User::of(&conf);
        if let Some(user) = user {
            user.own_prefix(&conf)
                .with_context(|| format!("could not hand {} to the worker", conf.prefix.display()))?;
        }
        Ok(Self {
            source,
            values,
            threads: conf.threads(),
            drain_timeout: conf.drain_timeout(),
            log: Settings { may_be_link: user.is_none(), ..Settings::of(&conf) },
            user,
            listeners,
            warnings: conf.warnings().to_vec(),
            prefix: conf.prefix,
        })
    }

    /// Has another process read it.
    pub(super) fn ask(source: &Source) -> anyhow::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(TIMEOUT))?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("silverback: configuration")
            .arg(PLAN)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null());
        let mut reader = command.spawn().context("could not start a process to read the configuration")?;
        // The command holds its end of the stream; without it the reader's death ends the waiting.
        drop(command);
        transfer::send(&ours, source, &[])?;
        let answer = transfer::receive::<Result<Self, String>>(&ours);
        if answer.is_err() {
            let _ = reader.kill();
        }
        reader.wait()?;
        match answer.context("could not read the configuration")?.0 {
            Ok(plan) => Ok(plan),
            Err(problem) => bail!(problem),
        }
    }
}

/// The process that reads a configuration for the supervisor.
pub(crate) fn answer() -> ExitCode {
    let answer = || -> anyhow::Result<()> {
        let stream = take_stdin()?;
        let (source, _) = transfer::receive::<Source>(&stream)?;
        let plan = Plan::read(source).map_err(|error| format!("{error:#}"));
        Ok(transfer::send(&stream, &plan, &[])?)
    };
    if answer().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The addresses of all listeners. An address in two places is a mistake.
fn listeners(conf: &Conf) -> anyhow::Result<Vec<Listener>> {
    let properties = [
        (ListenerKind::Proxy, &conf.proxy_listen),
        (ListenerKind::Admin, &conf.admin_listen),
        (ListenerKind::Status, &conf.status_listen),
    ];
    let mut listeners = Vec::<Listener>::new();
    for (kind, listens) in properties {
        let property = kind.property();
        for listen in listens.iter() {
            let mut addresses = match &listen.path {
                Some(path) => vec![Address::Unix(conf.in_prefix(path))],
                None => listen
                    .addresses()
                    .with_context(|| format!("{property}: could not resolve {}", listen.address()))?
                    .into_iter()
                    .map(Address::Ip)
                    .collect(),
            };
            addresses.sort_unstable();
            addresses.dedup();
            for address in addresses {
                if let Some(other) = listeners.iter().find(|known| known.address == address) {
                    bail!(
                        "{property}: could not listen on {address}: the address is in {} already",
                        other.kind.property()
                    );
                }
                listeners.push(Listener { kind, listen: listen.clone(), address });
            }
        }
    }
    Ok(listeners)
}
