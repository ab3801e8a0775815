//! Requests through the plugin alone, with the harness of the PDK: no gateway, no sockets.

use super::*;
use pdk::testing::{Harness, complete};
use serde_json::json;

#[test]
fn only_known_tenants_pass() {
    let harness = Harness::new(&DEFINITION, json!({ "tenants": ["acme", "Globex"] }));
    for (request, expected) in [
        ("GET /", None),
        ("GET /\nX-Tenant: nobody", None),
        ("GET /\nX-Tenant: acme", Some("X-Tenant: acme")),
        ("GET /\nx-tenant: GLOBEX", Some("globex")),
    ] {
        let exchange = harness.send(request);
        let Some(expected) = expected else {
            assert_eq!(
                (exchange.status, exchange.body.as_str()),
                (403, r#"{"message":"Unknown tenant"}"#),
                "{request}"
            );
            continue;
        };
        assert!(exchange.upstream.as_deref().is_some_and(|seen| seen.contains(expected)), "{request}");
        assert_eq!(exchange.header("X-Tenant-Checked"), "yes", "{request}");
    }
}

#[test]
fn a_config_without_tenants_is_refused() {
    let error = complete(&DEFINITION, json!({})).unwrap_err();
    assert_eq!(error["config"]["tenants"], "required field missing");
}
