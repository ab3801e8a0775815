//! The expression that Kong writes for a route of classic attributes: shown to people in validation errors, so to the letter.

use std::fmt::Write;

use crate::definition::{Definition, HostRule, NameRule, Net};

pub(crate) fn of_route(definition: &Definition) -> String {
    let mut parts = Vec::new();
    if !definition.snis.is_empty() {
        let tls = if definition.is_stream { "tls" } else { "https" };
        let names = any_of(definition.snis.iter().map(|sni| name_test("tls.sni", &NameRule::new(sni), quoted)));
        parts.push(format!("(net.protocol != r#\"{tls}\"# || {names})"));
    }
    for (side, nets) in [("src", &definition.sources), ("dst", &definition.destinations)] {
        if !nets.is_empty() {
            parts.push(any_of(nets.iter().map(|net| net_test(side, net))));
        }
    }
    if !definition.is_stream {
        push_http(&mut parts, definition);
    }
    parts.join(" && ")
}

fn push_http(parts: &mut Vec<String>, definition: &Definition) {
    if !definition.methods.is_empty() {
        parts.push(any_of(definition.methods.iter().map(|method| format!("http.method == {}", quoted(method)))));
    }
    if !definition.hosts.is_empty() {
        parts.push(any_of(definition.hosts.iter().map(host_test)));
    }
    if !definition.paths.is_empty() {
        parts.push(any_of(definition.paths.iter().map(|path| match path.strip_prefix('~') {
            Some(regex) => format!("http.path ~ {}", quoted(&path_regex(regex))),
            None => format!("http.path ^= {}", quoted(path)),
        })));
    }
    for (name, values) in &definition.headers {
        let field = format!("any(lower(http.headers.{}))", name.replace('-', "_"));
        parts.push(any_of(values.iter().map(|value| {
            let lower = value.to_ascii_lowercase();
            match lower.strip_prefix("~*") {
                Some(regex) => format!("{field} ~ {}", quoted(regex)),
                None => format!("{field} == {}", quoted(&lower)),
            }
        })));
    }
}

/// A path's regex in the syntax of Rust's engine: anchored, and with its way to name a group.
pub(crate) fn path_regex(regex: &str) -> String {
    format!("^{}", regex.replace("?<", "?P<"))
}

fn any_of(tests: impl Iterator<Item = String>) -> String {
    format!("({})", tests.collect::<Vec<_>>().join(" || "))
}

fn name_test(field: &str, name: &NameRule, quote: fn(&str) -> String) -> String {
    match name {
        NameRule::Exact(text) => format!("{field} == {}", quote(text)),
        NameRule::Suffix(text) => format!("{field} =^ {}", quote(text)),
        NameRule::Prefix(text) => format!("{field} ^= {}", quote(text)),
    }
}

fn host_test(host: &HostRule) -> String {
    let name = name_test("http.host", &host.name, |text| format!("r#\"{text}\"#"));
    match host.port {
        Some(port) => format!("({name} && net.dst.port == {port})"),
        None => name,
    }
}

fn net_test(side: &str, net: &Net) -> String {
    let mut test = String::new();
    let is_pair = net.text.is_some() && net.port.is_some();
    if is_pair {
        test.push('(');
    }
    if let Some(address) = &net.text {
        let operator = if address.contains('/') { "in" } else { "==" };
        let written = net.address.map_or_else(|| address.clone(), |parsed| parsed.written(address));
        let _ = write!(test, "net.{side}.ip {operator} {written}");
    }
    if is_pair {
        test.push_str(" && ");
    }
    if let Some(port) = net.port {
        let _ = write!(test, "net.{side}.port == {port}");
    }
    if is_pair {
        test.push(')');
    }
    test
}

/// As a raw string, unless the text could end one.
fn quoted(text: &str) -> String {
    if text.contains("\"#") {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("r#\"{text}\"#")
    }
}
