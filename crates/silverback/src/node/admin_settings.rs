//! kong.conf in the Admin API's terms.

use crate::conf::{Block, Conf, LogTarget, Role};
use admin::{Access, Audit, AuditSettings, Settings};
use anyhow::Context as _;
use std::sync::Arc;

pub(super) fn of(conf: &Conf, server_header: Option<String>) -> anyhow::Result<Settings> {
    let body_limit = match conf.http(Block::Admin).client_max_body_size {
        0 => usize::MAX,
        bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
    };
    Ok(Settings {
        origins: conf.admin_gui_url.iter().map(|url| origin(url)).collect(),
        server_header,
        latency_header: conf.headers.admin_latency,
        body_limit,
        new_dns_client: conf.new_dns_client,
        role_control_plane: conf.role == Role::ControlPlane,
        access: access(conf)?,
        audit: audit(conf)?,
        ..Settings::default()
    })
}

/// An address without its path: what browsers send as the origin.
fn origin(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    format!("{scheme}{}", rest.split('/').next().unwrap_or_default())
}

fn access(conf: &Conf) -> anyhow::Result<Option<Arc<Access>>> {
    let Some(path) = &conf.admin_users else { return Ok(None) };
    let path = conf.in_prefix(path);
    let text = std::fs::read_to_string(&path).with_context(|| format!("admin_users: reading {}", path.display()))?;
    let access = Access::parse(&text).map_err(|error| anyhow::anyhow!("admin_users: {}: {error}", path.display()))?;
    Ok(Some(Arc::new(access)))
}

fn audit(conf: &Conf) -> anyhow::Result<Option<Arc<Audit>>> {
    let path = match &conf.admin_audit_log.target {
        LogTarget::Off => return Ok(None),
        LogTarget::File(path) => conf.in_prefix(path),
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::Syslog(_) => {
            anyhow::bail!("admin_audit_log is a path, or off")
        }
    };
    let audit = Audit::open(AuditSettings::at(path.clone()));
    Ok(Some(Arc::new(audit.with_context(|| format!("admin_audit_log: opening {}", path.display()))?)))
}
