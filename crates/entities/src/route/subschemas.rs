//! What each protocol of a route allows and asks for.

use std::sync::Arc;

use schema::{Check, CheckError, Field, Map, Record, Subschema, Value, typedefs};

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
        .check(must_set(flavor, &["sources", "destinations", "snis"], |protocols, names| {
            protocols
                .iter()
                .all(|protocol| matches!(protocol.as_str(), Some("tcp" | "tls" | "udp")))
                .then(|| format!("must set one of {names} when 'protocols' is 'tcp', 'tls' or 'udp'"))
        }))
        .check(must_set(flavor, &["snis"], |protocols, _| {
            protocols
                .iter()
                .all(|protocol| protocol == "tls_passthrough")
                .then(|| "must set snis when 'protocols' is 'tls_passthrough'".to_owned())
        }))
}

/// What the secure protocol of a family asks for, or else the plain one.
fn secure_or_not(
    flavor: RouterFlavor,
    (secure, secure_fields): (&'static str, &[&'static str]),
    (plain, plain_fields): (&'static str, &[&'static str]),
) -> Check {
    let secure_fields = names(flavor, secure_fields);
    let plain_fields = names(flavor, plain_fields);
    let all = secure_fields.iter().copied().chain(["protocols"]).collect::<Vec<_>>();
    let check = Check::custom(all, move |entity| {
        let Some(Value::Array(protocols)) = entity.get("protocols") else { return Ok(()) };
        let has = |name: &str| protocols.iter().any(|protocol| protocol == name);
        let (protocol, fields) = if has(secure) { (secure, &secure_fields) } else { (plain, &plain_fields) };
        if !has(protocol) || fields.iter().any(|field| is_set(entity, field)) {
            return Ok(());
        }
        Err(format!("must set one of {} when 'protocols' is '{protocol}'", quoted(fields)).into())
    });
    check.run_with_missing_fields().run_with_invalid_fields()
}

/// One of the fields is needed for protocols about which `message` has something to say.
fn must_set(flavor: RouterFlavor, fields: &[&'static str], message: fn(&[Value], &str) -> Option<String>) -> Check {
    let fields = names(flavor, fields);
    let all = fields.iter().copied().chain(["protocols"]).collect::<Vec<_>>();
    let check = Check::custom(all, move |entity| -> Result<(), CheckError> {
        let Some(Value::Array(protocols)) = entity.get("protocols") else { return Ok(()) };
        if fields.iter().any(|field| is_set(entity, field)) {
            return Ok(());
        }
        message(protocols, &quoted(&fields)).map_or(Ok(()), |text| Err(text.into()))
    });
    check.run_with_missing_fields().run_with_invalid_fields()
}

fn names(flavor: RouterFlavor, fields: &[&'static str]) -> Vec<&'static str> {
    let expression = (flavor == RouterFlavor::Expressions).then_some("expression");
    fields.iter().copied().chain(expression).collect()
}

fn quoted(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("'{field}'")).collect::<Vec<_>>().join(", ")
}

fn is_set(entity: &Map<String, Value>, field: &str) -> bool {
    match entity.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}
