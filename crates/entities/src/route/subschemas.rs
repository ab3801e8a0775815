//! What each protocol of a route allows and asks for.

use std::sync::Arc;

use schema::{Check, Field, Record, Subschema, is, typedefs};

use crate::{RetryPolicy, RouterFlavor};

/// One subschema for each protocol; those of a family are the same.
pub(super) fn of(flavor: RouterFlavor) -> Vec<Arc<Subschema>> {
    let protocols = ["http", "https", "grpc", "grpcs", "tcp", "tls", "udp", "tls_passthrough"];
    let subschema = |name: &str| {
        Arc::new(match name {
            "http" | "https" => http(name, flavor),
            "grpc" | "grpcs" => grpc(name, flavor),
            _ => stream(name, flavor),
        })
    };
    protocols.map(subschema).into()
}

fn forbidden(name: &str, field: Field, protocols: &str) -> (String, Field) {
    (name.to_owned(), field.null().err(&format!("cannot set '{name}' when 'protocols' is {protocols}")))
}

fn with(subschema: Subschema, fields: impl IntoIterator<Item = (String, Field)>) -> Subschema {
    fields.into_iter().fold(subschema, |subschema, (name, field)| subschema.field(&name, field))
}

fn http(name: &str, flavor: RouterFlavor) -> Subschema {
    const PROTOCOLS: &str = "'http' or 'https'";
    let fields = matters_of_streams(flavor, PROTOCOLS);
    with(Subschema::new(name), fields).check(secure_or_not(
        flavor,
        ("https", &["methods", "hosts", "headers", "paths", "snis"]),
        ("http", &["methods", "hosts", "headers", "paths"]),
    ))
}

fn grpc(name: &str, flavor: RouterFlavor) -> Subschema {
    const PROTOCOLS: &str = "'grpc' or 'grpcs'";
    let strip_path = Field::boolean()
        .required(true)
        .default(false)
        .ne(true)
        .err("cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'");
    let mut fields = vec![("strip_path".to_owned(), strip_path), forbidden("methods", typedefs::methods(), PROTOCOLS)];
    fields.extend(matters_of_streams(flavor, PROTOCOLS));
    with(Subschema::new(name), fields).check(secure_or_not(
        flavor,
        ("grpcs", &["hosts", "headers", "paths", "snis"]),
        ("grpc", &["hosts", "headers", "paths"]),
    ))
}

fn matters_of_streams(flavor: RouterFlavor, protocols: &str) -> Vec<(String, Field)> {
    if flavor == RouterFlavor::Expressions {
        return Vec::new();
    }
    vec![
        forbidden("sources", typedefs::sources(), protocols),
        forbidden("destinations", typedefs::destinations(), protocols),
    ]
}

fn stream(name: &str, flavor: RouterFlavor) -> Subschema {
    const PROTOCOLS: &str = "'tcp', 'tls', 'tls_passthrough' or 'udp'";
    let policy = Field::record(Arc::clone(RetryPolicy::record())).required(false);
    let fields = [
        forbidden("methods", typedefs::methods(), PROTOCOLS),
        forbidden("hosts", typedefs::hosts(), PROTOCOLS),
        forbidden("paths", typedefs::paths(), PROTOCOLS),
        forbidden("headers", typedefs::headers(), PROTOCOLS),
        // Beyond Kong: what is about requests means nothing to connections.
        forbidden("request_timeout", Field::integer().hidden(true), PROTOCOLS),
        forbidden("retry_policy", policy.hidden(true), PROTOCOLS),
        forbidden("path_forwarding", Field::string().hidden(true), PROTOCOLS),
    ];
    with(Subschema::new(name), fields)
        .check(
            Check::conditional_at_least_one_of(
                "protocols",
                is().elements(Field::string().one_of(["tcp", "tls", "udp"])),
                names(flavor, &["sources", "destinations", "snis"]),
            )
            .then_err("must set one of %s when 'protocols' is 'tcp', 'tls' or 'udp'"),
        )
        .check(
            Check::conditional_at_least_one_of(
                "protocols",
                is().elements(Field::string().one_of(["tls_passthrough"])),
                names(flavor, &["snis"]),
            )
            .then_err("must set snis when 'protocols' is 'tls_passthrough'"),
        )
}

/// What the secure protocol of a family asks for, or else the plain one.
fn secure_or_not(
    flavor: RouterFlavor,
    (secure, secure_fields): (&str, &[&'static str]),
    (plain, plain_fields): (&str, &[&'static str]),
) -> Check {
    let message = |protocol| format!("must set one of %s when 'protocols' is '{protocol}'");
    Check::conditional_at_least_one_of("protocols", is().contains(secure), names(flavor, secure_fields))
        .then_err(&message(secure))
        .otherwise(is().contains(plain), names(flavor, plain_fields), &message(plain))
}

fn names(flavor: RouterFlavor, fields: &[&'static str]) -> Vec<&'static str> {
    let expression = (flavor == RouterFlavor::Expressions).then_some("expression");
    fields.iter().copied().chain(expression).collect()
}
