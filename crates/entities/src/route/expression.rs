//! Routes as expressions of Kong's router: how classic attributes are written, and whether the router takes the result.
//!
//! People see the written form in error messages, so it is Kong's to the letter.

use std::net::Ipv4Addr;
use std::panic::catch_unwind;
use std::sync::LazyLock;

use atc_router::ast::{Expression, LogicalExpression, Type};
use atc_router::schema::Schema;
use atc_router::semantics::Validate;
use schema::{Map, Value};

use super::{Net, Route, is_stream};
use crate::RouterFlavor;

/// The attributes of a route that its expression is made of.
#[derive(Clone, Debug, Default)]
pub struct Matchers<'a> {
    pub is_stream: bool,
    pub snis: Vec<&'a str>,
    /// Address or network, and port.
    pub sources: Vec<(Option<&'a str>, Option<i64>)>,
    pub destinations: Vec<(Option<&'a str>, Option<i64>)>,
    pub methods: Vec<&'a str>,
    pub hosts: Vec<&'a str>,
    pub paths: Vec<&'a str>,
    pub headers: Vec<(&'a str, Vec<&'a str>)>,
}

fn list(field: Option<&[String]>) -> Vec<&str> {
    field.into_iter().flatten().map(String::as_str).collect()
}

impl<'a> From<&'a Route> for Matchers<'a> {
    fn from(route: &'a Route) -> Self {
        let nets =
            |nets: &'a Option<Box<[Net]>>| nets.iter().flatten().map(|net| (net.ip.as_deref(), net.port)).collect();
        let headers = route.headers.iter().flat_map(|headers| headers.iter());
        Self {
            is_stream: route.protocols.first().is_some_and(|protocol| is_stream(protocol)),
            snis: list(route.snis.as_deref()),
            sources: nets(&route.sources),
            destinations: nets(&route.destinations),
            methods: list(route.methods.as_deref()),
            hosts: list(route.hosts.as_deref()),
            paths: list(route.paths.as_deref()),
            headers: headers.map(|(name, values)| (name.as_str(), list(Some(values.as_slice())))).collect(),
        }
    }
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

impl<'a> From<&'a Map<String, Value>> for Matchers<'a> {
    fn from(route: &'a Map<String, Value>) -> Self {
        let nets = |field: &str| {
            let nets = route.get(field).and_then(Value::as_array).into_iter().flatten();
            nets.map(|net| (net.get("ip").and_then(Value::as_str), net.get("port").and_then(Value::as_i64))).collect()
        };
        let headers = route.get("headers").and_then(Value::as_object).into_iter().flatten();
        Self {
            is_stream: texts(route.get("protocols")).first().is_some_and(|protocol| is_stream(protocol)),
            snis: texts(route.get("snis")),
            sources: nets("sources"),
            destinations: nets("destinations"),
            methods: texts(route.get("methods")),
            hosts: texts(route.get("hosts")),
            paths: texts(route.get("paths")),
            headers: headers.map(|(name, values)| (name.as_str(), texts(Some(values)))).collect(),
        }
    }
}

impl Matchers<'_> {
    /// Whether the route has none of these attributes.
    pub fn is_empty(&self) -> bool {
        self.snis.is_empty()
            && self.sources.is_empty()
            && self.destinations.is_empty()
            && self.methods.is_empty()
            && self.hosts.is_empty()
            && self.paths.is_empty()
            && self.headers.is_empty()
    }

    /// Whether all are texts of ours to compare with, or regexes that are surely taken: nothing that the expression's parser could
    /// refuse.
    fn are_plain(&self) -> bool {
        self.sources.is_empty()
            && self.destinations.is_empty()
            && self.headers.is_empty()
            && !self.hosts.iter().any(|host| host.contains(':'))
            && self.paths.iter().all(|path| path.strip_prefix('~').is_none_or(is_surely_taken))
    }

    /// The expression; empty without attributes.
    pub fn expression(&self) -> String {
        let mut terms = Vec::new();
        if !self.snis.is_empty() {
            // Where there is no TLS there is no server name to ask for.
            let tls = if self.is_stream { "tls" } else { "https" };
            let names = any(self.snis.iter().map(|sni| wildcard("tls.sni", sni.strip_suffix('.').unwrap_or(sni))));
            terms.push(format!("(net.protocol != r#\"{tls}\"# || {names})"));
        }
        for (side, nets) in [("src", &self.sources), ("dst", &self.destinations)] {
            if !nets.is_empty() {
                terms.push(any(nets.iter().map(|(ip, port)| net(side, *ip, *port))));
            }
        }
        if !self.is_stream {
            self.http(&mut terms);
        }
        terms.join(" && ")
    }

    fn http(&self, terms: &mut Vec<String>) {
        if !self.methods.is_empty() {
            terms.push(any(self.methods.iter().map(|method| format!("http.method == {}", quoted(method)))));
        }
        if !self.hosts.is_empty() {
            terms.push(any(self.hosts.iter().map(|pattern| host(pattern))));
        }
        if !self.paths.is_empty() {
            terms.push(any(self.paths.iter().map(|path| match path.strip_prefix('~') {
                Some(regex) => format!("http.path ~ {}", quoted(&path_regex(regex))),
                None => format!("http.path ^= {}", quoted(path)),
            })));
        }
        for (name, values) in &self.headers {
            let field = format!("any(lower(http.headers.{}))", name.to_ascii_lowercase().replace('-', "_"));
            terms.push(any(values.iter().map(|value| {
                let lower = value.to_ascii_lowercase();
                match lower.strip_prefix("~*") {
                    Some(regex) => format!("{field} ~ {}", quoted(regex)),
                    None => format!("{field} == {}", quoted(&lower)),
                }
            })));
        }
    }
}

/// The condition on the protocol that the flavor `expressions` adds; none for routes of one secure protocol, so that
/// plain requests find them and are told to use it.
pub fn protocol_expression<S: AsRef<str>>(protocols: &[S]) -> Option<String> {
    if let [only] = protocols
        && matches!(only.as_ref(), "https" | "tls" | "tls_passthrough")
    {
        return None;
    }
    let spoken = |protocol: &S| match protocol.as_ref() {
        "grpc" => "http".to_owned(),
        "grpcs" => "https".to_owned(),
        "tls_passthrough" => "tcp".to_owned(),
        other => other.to_owned(),
    };
    Some(any(protocols.iter().map(|protocol| format!("net.protocol == {}", quoted(&spoken(protocol))))))
}

/// A path's regex for Rust's engine: anchored, and with its way to name a group.
pub fn path_regex(regex: &str) -> String {
    format!("^{}", regex.replace("?<", "?P<"))
}

/// Whether the router takes the regex of a path: that it can be read is enough where it is too short to become too large, and
/// costs a twentieth of making what runs it.
pub(crate) fn is_surely_taken(regex: &str) -> bool {
    const SHORT: usize = 64;
    const FEW: usize = 8;
    let count = |wanted| regex.bytes().filter(|byte| *byte == wanted).count();
    // Repetitions multiply; the depth of parentheses is bounded by `parse`.
    regex.len() <= SHORT
        && !regex.contains(['{', '"'])
        && count(b'(') == count(b')')
        && count(b'(') <= FEW
        && regex_syntax::parse(&path_regex(regex)).is_ok()
}

fn any(tests: impl Iterator<Item = String>) -> String {
    format!("({})", tests.collect::<Vec<_>>().join(" || "))
}

fn wildcard(field: &str, pattern: &str) -> String {
    if let Some(end) = pattern.strip_prefix('*') {
        format!("{field} =^ {}", quoted(end))
    } else if let Some(start) = pattern.strip_suffix('*') {
        format!("{field} ^= {}", quoted(start))
    } else {
        format!("{field} == {}", quoted(pattern))
    }
}

fn host(pattern: &str) -> String {
    match split_port(pattern) {
        (name, Some(port)) => format!("({} && net.dst.port == {port})", wildcard("http.host", name)),
        (name, None) => wildcard("http.host", name),
    }
}

/// The port of a pattern; an IPv6 address is in brackets when it has one.
fn split_port(pattern: &str) -> (&str, Option<&str>) {
    match pattern.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            (name, Some(port))
        }
        _ => (pattern, None),
    }
}

fn net(side: &str, ip: Option<&str>, port: Option<i64>) -> String {
    let address = ip.map(|ip| match ip.split_once('/') {
        Some((address, bits)) => format!("net.{side}.ip in {}/{bits}", first_of_network(address, bits)),
        None => format!("net.{side}.ip == {ip}"),
    });
    let port = port.map(|port| format!("net.{side}.port == {port}"));
    match (address, port) {
        (Some(address), Some(port)) => format!("({address} && {port})"),
        (address, port) => address.or(port).unwrap_or_default(),
    }
}

/// The router takes a network only by its first address; Kong sees to that for IPv4.
fn first_of_network(address: &str, bits: &str) -> String {
    let (Ok(ip), Ok(bits)) = (address.parse::<Ipv4Addr>(), bits.parse::<u32>()) else { return address.to_owned() };
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
    Ipv4Addr::from_bits(ip.to_bits() & mask).to_string()
}

/// A raw string, unless the text could end one.
fn quoted(text: &str) -> String {
    if text.contains("\"#") {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("r#\"{text}\"#")
    }
}

/// What is checked of a route as a whole.
///
/// # Errors
/// Kong's text; that about the language itself is the router's.
pub fn check(flavor: RouterFlavor, route: &Map<String, Value>) -> Result<(), String> {
    const CLASSIC: &str = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' simultaneously";
    let matchers = Matchers::from(route);
    let is_number_set = |field: &str| route.get(field).and_then(Value::as_f64).is_some_and(|number| number != 0.0);
    let expression = route.get("expression").and_then(Value::as_str).filter(|text| !text.is_empty());
    match (flavor, expression) {
        (RouterFlavor::Traditional, _) => Ok(()),
        (RouterFlavor::Expressions, Some(_)) if !matchers.is_empty() => {
            Err(format!("cannot set 'expression' with {CLASSIC}"))
        }
        (RouterFlavor::Expressions, Some(_)) if is_number_set("regex_priority") => {
            Err("cannot set 'regex_priority' with 'expression' simultaneously".into())
        }
        (RouterFlavor::Expressions, Some(expression)) => parse(expression, matchers.is_stream).map(|_| ()),
        _ if matchers.is_empty() => Ok(()),
        (RouterFlavor::Expressions, None) if is_number_set("priority") => {
            Err(format!("cannot set 'priority' with {CLASSIC}"))
        }
        (RouterFlavor::TraditionalCompatible, _) if matchers.are_plain() => Ok(()),
        _ => parse(&matchers.expression(), matchers.is_stream).map(|_| ()),
    }
}

/// The router's parser recurses: without bounds an expression could exhaust the stack.
const MAX_LENGTH: usize = 64 << 10;
const MAX_DEPTH: usize = 100;
const UNKNOWN_OPERATOR: &str = "unknown operator: 'not in' is written with one space";

/// Parses an expression and checks that its fields and types fit.
///
/// # Errors
/// The router's text about what does not.
pub fn parse(text: &str, is_stream: bool) -> Result<Expression, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("expression too long: at most {MAX_LENGTH} bytes"));
    }
    if depth(text) > MAX_DEPTH {
        return Err(format!("expression nested too deeply: at most {MAX_DEPTH} levels"));
    }
    // The parser does not know the operator `not in` with other than one space between, which its grammar takes, and panics.
    let parsed = catch_unwind(|| atc_router::parser::parse(text).map_err(|error| error.to_string()));
    let expression = parsed.map_err(|_| UNKNOWN_OPERATOR)??;
    static HTTP: LazyLock<Schema> = LazyLock::new(|| fields(false));
    static STREAM: LazyLock<Schema> = LazyLock::new(|| fields(true));
    expression.validate(if is_stream { &STREAM } else { &HTTP })?;
    if has_bad_segments(&expression) { Err("illformed http.path.segments.* field".into()) } else { Ok(expression) }
}

/// How deep parentheses go; those in strings count too, which only makes the bound stricter.
fn depth(text: &str) -> usize {
    let step = |(open, deepest): (usize, usize), byte| {
        let open = match byte {
            b'(' => open + 1,
            b')' => open.saturating_sub(1),
            _ => open,
        };
        (open, deepest.max(open))
    };
    text.bytes().fold((0, 0), step).1
}

/// The fields an expression may name.
pub fn fields(is_stream: bool) -> Schema {
    let mut fields = Schema::default();
    let everywhere = [
        ("net.protocol", Type::String),
        ("tls.sni", Type::String),
        ("net.src.ip", Type::IpAddr),
        ("net.dst.ip", Type::IpAddr),
        ("net.src.port", Type::Int),
        ("net.dst.port", Type::Int),
    ];
    let http = [
        ("http.method", Type::String),
        ("http.host", Type::String),
        ("http.path", Type::String),
        ("http.path.segments.*", Type::String),
        ("http.headers.*", Type::String),
        ("http.queries.*", Type::String),
        ("http.path.segments.len", Type::Int),
        ("net.port", Type::Int),
    ];
    let http = http.into_iter().filter(|_| !is_stream);
    for (name, kind) in everywhere.into_iter().chain(http) {
        fields.add_field(name, kind);
    }
    fields
}

fn has_bad_segments(expression: &Expression) -> bool {
    match expression {
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(left, right) | LogicalExpression::Or(left, right) => {
                has_bad_segments(left) || has_bad_segments(right)
            }
            LogicalExpression::Not(inner) => has_bad_segments(inner),
        },
        Expression::Predicate(test) => match test.lhs.var_name.strip_prefix("http.path.segments.") {
            Some("len") | None => false,
            Some(range) => segments(range).is_none(),
        },
    }
}

/// `3` or `3_5`: which segments of the path, both ends included.
pub fn segments(range: &str) -> Option<(usize, usize)> {
    let number = |digits: &str| -> Option<usize> {
        let is_plain = digits == "0" || !digits.starts_with('0');
        (is_plain && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    match range.split_once('_') {
        None => number(range).map(|at| (at, at)),
        Some((from, to)) => Some((number(from)?, number(to)?)).filter(|(from, to)| from < to),
    }
}
