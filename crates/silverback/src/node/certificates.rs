//! The certificates of the node's own listeners: given in kong.conf, or made on first use and kept in the prefix.

use crate::conf::{Block, CipherSuite, Conf, Pem, PemKey, ciphers, parse_time};
use crate::supervisor::ListenerKind;
use anyhow::Context as _;
use proxy::{Clients, Shown, SnapshotHandle, Tls, TlsSettings, certificate_pair};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The TLS settings of each kind of listener.
pub(super) struct ServerTls {
    proxy: Tls,
    admin: Tls,
    status: Tls,
}

impl ServerTls {
    pub(super) fn of(&self, kind: ListenerKind) -> &Tls {
        match kind {
            ListenerKind::Admin => &self.admin,
            ListenerKind::Status => &self.status,
            _ => &self.proxy,
        }
    }
}

pub(super) fn server_tls(conf: &Conf, snapshots: &Arc<SnapshotHandle>) -> anyhow::Result<ServerTls> {
    let admin = pair(conf, &conf.admin_ssl_cert, &conf.admin_ssl_cert_key, "admin-kong-default")?;
    let status = pair(conf, &conf.status_ssl_cert, &conf.status_ssl_cert_key, "status-kong-default")?;
    let settings = tls_settings(conf);
    let make = |shown, clients| Tls::new(shown, &settings, clients).context("the TLS settings cannot be used");
    Ok(ServerTls {
        proxy: make(Shown::Configured(snapshots.clone()), None)?,
        admin: make(Shown::Fixed(admin), admin_clients(conf)?)?,
        status: make(Shown::Fixed(status), None)?,
    })
}

/// Versions and ciphers, by Kong's suites (config_cli.md, 1.3).
fn tls_settings(conf: &Conf) -> TlsSettings {
    let named = |text: &str| {
        let of = |name: &str| text.split_whitespace().any(|word| word == name);
        let versions = [of("TLSv1.3").then_some(&TLS13), of("TLSv1.2").then_some(&TLS12)];
        versions.into_iter().flatten().collect::<Vec<_>>()
    };
    let mut versions = match conf.ssl_cipher_suite {
        CipherSuite::Modern => vec![&TLS13],
        CipherSuite::Fips => vec![&TLS12],
        CipherSuite::Custom => named(&conf.ssl_protocols),
        CipherSuite::Intermediate | CipherSuite::Old => vec![&TLS13, &TLS12],
    };
    if let Some(text) = conf.directive(Block::Proxy, "ssl_protocols") {
        versions = named(text);
    }
    let suites = match (conf.ssl_cipher_suite, &conf.ssl_ciphers) {
        (CipherSuite::Fips, _) => Some(ciphers::tls12("FIPS")),
        (CipherSuite::Custom, Some(list)) => Some(ciphers::tls12(list)),
        _ => None,
    };
    let suites = suites.map(|tls12| ciphers::tls13().into_iter().chain(tls12).collect::<Vec<_>>());
    if let Some(suites) = &suites {
        versions.retain(|version| suites.iter().any(|suite| suite.version() == *version));
    }
    TlsSettings {
        versions,
        suites,
        prefers_own_order: match conf.ssl_cipher_suite {
            CipherSuite::Custom => conf.ssl_prefer_server_ciphers,
            CipherSuite::Old => true,
            _ => false,
        },
        session_tickets: match conf.directive(Block::Proxy, "ssl_session_tickets") {
            Some(switch) => switch == "on",
            None => conf.ssl_session_tickets,
        },
        session_timeout: conf
            .directive(Block::Proxy, "ssl_session_timeout")
            .and_then(parse_time)
            .unwrap_or(conf.ssl_session_timeout.duration),
        // nginx counts some 4,000 sessions a megabyte.
        sessions: usize::try_from(conf.ssl_session_cache_size.bytes / 256).unwrap_or(usize::MAX),
    }
}

/// Which clients may connect to the Admin API over TLS, with nginx's directives.
fn admin_clients(conf: &Conf) -> anyhow::Result<Option<Clients>> {
    let must_show = match conf.directive(Block::Admin, "ssl_verify_client") {
        None | Some("off") => return Ok(None),
        Some("on") => true,
        Some("optional") => false,
        Some(other) => anyhow::bail!("nginx_admin_ssl_verify_client is on, optional or off, not '{other}'"),
    };
    let Some(path) = conf.directive(Block::Admin, "ssl_client_certificate") else {
        anyhow::bail!("nginx_admin_ssl_verify_client needs nginx_admin_ssl_client_certificate");
    };
    let pem = fs::read(conf.in_prefix(path)).with_context(|| format!("nginx_admin_ssl_client_certificate: {path}"))?;
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    anyhow::ensure!(!authorities.is_empty(), "nginx_admin_ssl_client_certificate: {path} has no certificate");
    Ok(Some(Clients { authorities, must_show }))
}

/// The certificate where no name fits (`ssl_cert`).
pub(super) fn default_certificate(conf: &Conf) -> anyhow::Result<Arc<CertifiedKey>> {
    pair(conf, &conf.ssl_cert, &conf.ssl_cert_key, "kong-default")
}

/// What upstreams are shown where nothing else is configured (`client_ssl`).
pub(super) fn client_certificate(conf: &Conf) -> anyhow::Result<Option<Arc<CertifiedKey>>> {
    let (true, Some(cert), Some(key)) = (conf.client_ssl, &conf.client_ssl_cert, &conf.client_ssl_cert_key) else {
        return Ok(None);
    };
    let pair = certificate_pair(&text(cert.read()?)?, &text(key.read()?)?);
    pair.map(Some).map_err(|error| anyhow::anyhow!("client_ssl_cert cannot be used with client_ssl_cert_key: {error}"))
}

fn pair(conf: &Conf, certs: &[Pem], keys: &[PemKey], name: &str) -> anyhow::Result<Arc<CertifiedKey>> {
    let (cert, key) = match (certs.first(), keys.first()) {
        (Some(cert), Some(key)) => (text(cert.read()?)?, text(key.read()?)?),
        _ => own(conf, name)?,
    };
    certificate_pair(&cert, &key).map_err(|error| anyhow::anyhow!("the certificate {name} cannot be used: {error}"))
}

fn text(bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).context("a certificate or key is no PEM text")
}

/// A self-signed pair, made once and kept in `<prefix>/ssl`.
fn own(conf: &Conf, name: &str) -> anyhow::Result<(String, String)> {
    let folder = conf.in_prefix("ssl");
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    if let (Ok(cert), Ok(key)) = (fs::read_to_string(&cert), fs::read_to_string(&key)) {
        return Ok((cert, key));
    }
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).context("making a certificate")?;
    let pair = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    write(&cert, &pair.0, 0o644)?;
    write(&key, &pair.1, 0o600)?;
    Ok(pair)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}
