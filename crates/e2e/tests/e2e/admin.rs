//! The Admin API of a running node: users, client certificates, batches that traffic sees at once, the audit log.

use crate::client::{Client, get};
use crate::gateway::Gateway;
use crate::pki::{Shown, open};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use std::net::SocketAddr;

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed_by(authority: &CertifiedIssuer<'static, KeyPair>) -> Shown {
    let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Some((vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap()))
}

#[test]
fn the_admin_api_takes_only_clients_with_a_certificate_of_its_authority() {
    let ours = authority("ours");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorities.pem");
    std::fs::write(&file, ours.pem()).unwrap();
    let at = crate::gateway::free_address();
    let _gateway = Gateway::start_with(
        "_format_version: '3.0'\n",
        &[
            ("nginx_admin_ssl_verify_client", "on"),
            ("nginx_admin_ssl_client_certificate", &file.display().to_string()),
            ("admin_listen", &format!("{at} ssl")),
        ],
    );
    let answer = Client::over(open(at, "localhost", signed_by(&ours))).get("/status", &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    for stranger in [None, signed_by(&authority("theirs"))] {
        assert!(Client::over(open(at, "localhost", stranger)).try_get("/status", &[]).is_err());
    }
}

#[test]
fn each_answer_of_the_admin_api_is_a_line_of_its_access_log() {
    let gateway = Gateway::start_with("_format_version: '3.0'\n", &[]);
    assert_eq!(get(gateway.ports.admin, "/services?size=7", &[]).status, 200);
    assert_eq!(get(gateway.ports.admin, "/nothing", &["User-Agent: a-script"]).status, 404);
    let lines = || std::fs::read_to_string(gateway.folder.path().join("prefix/logs/admin_access.log")).unwrap();
    crate::gateway::eventually("both answers are in the log", || lines().lines().count() >= 2);
    let lines = lines();
    assert!(lines.contains("\"GET /services?size=7 HTTP/1.1\" 200 23 "), "{lines}");
    assert!(lines.contains("\"GET /nothing HTTP/1.1\" 404 23 \"-\" \"a-script\""), "{lines}");
}

fn send(at: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> crate::client::Answer {
    let mut client = Client::open(at);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(request.as_bytes()).unwrap();
    client.answer().unwrap()
}

#[test]
fn a_user_writes_a_batch_that_traffic_sees_and_the_audit_log_tells() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, "ci token-of-the-editor editor\nroot token-of-the-admin admin\n").unwrap();
    let gateway = Gateway::start_with(
        "",
        &[
            ("database", "embedded"),
            ("declarative_config", ""),
            ("admin_users", &users.display().to_string()),
            ("admin_audit_log", "logs/audit.log"),
        ],
    );
    let admin = gateway.ports.admin;
    assert_eq!(get(admin, "/services", &[]).status, 401);
    let batch = r#"{"operations":[
        {"method":"PUT","path":"/routes/r","body":{"paths":["/r"]}},
        {"method":"POST","path":"/routes/r/plugins","body":{"name":"request-termination","config":{"status_code":418}}}]}"#;
    let answer = send(admin, "POST", "/batch", "token-of-the-editor", batch);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(get(gateway.ports.proxy, "/r", &[]).status, 418);
    assert_eq!(send(admin, "GET", "/audit", "token-of-the-editor", "").status, 403);
    let audit = send(admin, "GET", "/audit", "token-of-the-admin", "");
    assert!(audit.body.contains(r#""user":"ci""#) && audit.body.contains(r#""client":"127.0.0.1""#), "{audit:?}");
    let failing = batch.replace("/routes/r\"", "/routes/s\"").replace("/r\"]", "/s\"]").replace("418", "\"x\"");
    assert_eq!(send(admin, "POST", "/batch", "token-of-the-editor", &failing).status, 400);
    assert_eq!(get(gateway.ports.proxy, "/s", &[]).status, 404);
    let log = std::fs::read_to_string(gateway.folder.path().join("prefix/logs/audit.log")).unwrap();
    assert_eq!(log.lines().count(), 1);
}
