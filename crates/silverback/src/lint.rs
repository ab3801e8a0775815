//! What of a configuration has no effect: legal, as in Kong, but hardly meant.

use entities::{Configuration, Plugin, Route};
use router::{Fields, Flavor, Protocol, Query, Router};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use uuid::Uuid;

/// What has no effect, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// `shadowed-route`, `unreachable-plugin`, `service-without-routes`, `credential-without-consumer`,
    /// `retry-policy-without-retries`.
    pub(crate) rule: &'static str,
    /// The collection.
    pub(crate) entity: &'static str,
    pub(crate) id: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "rule": self.rule, "entity": self.entity, "id": self.id, "name": self.name, "message": self.message })
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id.to_string();
        let name = self.name.as_deref().unwrap_or(&id);
        write!(f, "{} {name}: {} ({})", self.entity.trim_end_matches('s'), self.message, self.rule)
    }
}

/// Everything that has no effect, in a fixed order.
#[must_use]
pub(crate) fn lint(from: &Configuration, flavor: Flavor) -> Vec<Finding> {
    let mut findings = shadowed_routes(from, flavor);
    let used: HashSet<Uuid> = from.routes.values().filter_map(|route| Some(route.service.as_ref()?.id)).collect();
    for service in from.services.values().filter(|service| !used.contains(&service.id)) {
        findings.push(Finding {
            rule: "service-without-routes",
            entity: "services",
            id: service.id,
            name: service.name.clone(),
            message: "no route leads to it".to_owned(),
        });
    }
    for plugin in from.plugins.values().filter(|plugin| plugin.enabled) {
        if let Some(message) = unreachable(plugin, from, &used) {
            let name = Some(plugin.instance_name.clone().unwrap_or_else(|| plugin.name.clone()));
            findings.push(Finding { rule: "unreachable-plugin", entity: "plugins", id: plugin.id, name, message });
        }
    }
    findings.extend(stray_credentials(from));
    findings.extend(idle_retry_policies(from));
    findings.sort();
    findings
}

/// Why a plugin never runs.
fn unreachable(plugin: &Plugin, from: &Configuration, used: &HashSet<Uuid>) -> Option<String> {
    let route = plugin.route.as_ref().map(|route| from.routes.get(&route.id));
    let service = plugin.service.as_ref().map(|service| (service.id, from.services.get(&service.id)));
    if let Some(None) = route {
        return Some("its route is not there".to_owned());
    }
    if let Some((_, None)) = service {
        return Some("its service is not there".to_owned());
    }
    if let Some(consumer) = plugin.consumer.as_ref()
        && !from.consumers.contains_key(&consumer.id)
    {
        return Some("its consumer is not there".to_owned());
    }
    if let Some(group) = plugin.consumer_group.as_ref()
        && !from.consumer_group_consumers.values().any(|member| member.consumer_group.id == group.id)
    {
        return Some("its consumer group has no members".to_owned());
    }
    if let (Some(Some(route)), Some((service, _))) = (route, service)
        && route.service.as_ref().is_none_or(|own| own.id != service)
    {
        return Some("its route leads to another service than its own".to_owned());
    }
    if let Some(Some(route)) = route
        && !route.protocols.iter().any(|protocol| plugin.protocols.contains(protocol))
    {
        return Some("its protocols are not those of its route".to_owned());
    }
    let of_route = route.flatten().and_then(|route| from.services.get(&route.service.as_ref()?.id));
    let service_entity = service.and_then(|(_, service)| service).or(of_route);
    if service_entity.is_some_and(|service| !service.enabled) {
        return Some("its service is disabled".to_owned());
    }
    match service {
        Some((id, _)) if route.is_none() && !used.contains(&id) => Some("no route leads to its service".to_owned()),
        _ => None,
    }
}

fn stray_credentials(from: &Configuration) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check = |entity, id, consumer: Option<Uuid>| {
        if consumer.is_none_or(|consumer| !from.consumers.contains_key(&consumer)) {
            let message = "its consumer is not there".to_owned();
            findings.push(Finding { rule: "credential-without-consumer", entity, id, name: None, message });
        }
    };
    from.oauth2_credentials.values().for_each(|c| check("oauth2_credentials", c.id, Some(c.consumer.id)));
    from.mtls_auth_credentials.values().for_each(|c| check("mtls_auth_credentials", c.id, Some(c.consumer.id)));
    from.keyauth_credentials.values().for_each(|c| check("keyauth_credentials", c.id, Some(c.consumer.id)));
    from.basicauth_credentials.values().for_each(|c| check("basicauth_credentials", c.id, Some(c.consumer.id)));
    from.hmacauth_credentials.values().for_each(|c| check("hmacauth_credentials", c.id, Some(c.consumer.id)));
    from.jwt_secrets.values().for_each(|c| check("jwt_secrets", c.id, Some(c.consumer.id)));
    from.acls.values().for_each(|c| check("acls", c.id, Some(c.consumer.id)));
    findings
}

/// Policies of who never tries again.
fn idle_retry_policies(from: &Configuration) -> Vec<Finding> {
    let finding = |entity, id, name: Option<&str>| {
        let message = "its retry_policy has no effect, since there are no retries".to_owned();
        Finding { rule: "retry-policy-without-retries", entity, id, name: name.map(str::to_owned), message }
    };
    let of_service = |route: &Route| from.services.get(&route.service.as_ref()?.id)?.retries;
    let retries = |route: &Route| route.retries.map(i64::from).or_else(|| of_service(route)).unwrap_or(5);
    // A service's own policy serves the routes that have none.
    let served: HashSet<Uuid> = from
        .routes
        .values()
        .filter(|route| route.retry_policy.is_none() && retries(route) > 0)
        .filter_map(|route| Some(route.service.as_ref()?.id))
        .collect();
    let routes = from.routes.values().filter(|route| route.retry_policy.is_some() && retries(route) == 0);
    let services = from.services.values().filter(|service| {
        service.retry_policy.is_some() && service.retries == Some(0) && !served.contains(&service.id)
    });
    let routes = routes.map(|route| finding("routes", route.id, route.name.as_deref()));
    routes.chain(services.map(|service| finding("services", service.id, service.name.as_deref()))).collect()
}

/// Routes that no request reaches, as far as the requests tell that come closest to what they ask for.
fn shadowed_routes(from: &Configuration, flavor: Flavor) -> Vec<Finding> {
    let is_served = |route: &&Arc<Route>| {
        let service = route.service.as_ref().and_then(|service| from.services.get(&service.id));
        service.is_none_or(|service| service.enabled)
    };
    let served = || from.routes.values().filter(is_served);
    let router = Router::build(flavor, served().cloned()).0;
    let mut findings = Vec::new();
    let mut expressions: HashMap<&str, Vec<&Arc<Route>>> = HashMap::new();
    let mut with_regexes: HashMap<Predicates<'_>, Vec<&Arc<Route>>> = HashMap::new();
    for route in served() {
        if let (Flavor::Expressions, Some(expression)) = (flavor, &route.expression) {
            expressions.entry(expression).or_default().push(route);
            continue;
        }
        if has_regex(route) {
            with_regexes.entry(Predicates::of(route)).or_default().push(route);
        } else if let Some(winner) = shadow_of(route, &router) {
            findings.push(shadowed(route, &winner));
        }
    }
    for same in with_regexes.into_values().filter(|same| same.len() > 1) {
        // What texts their regexes match does not matter here: those of the stand-ins are known.
        let mut regexes = HashMap::new();
        let stand_ins: Vec<Arc<Route>> = same.iter().map(|route| Arc::new(stand_in(route, &mut regexes))).collect();
        let router = Router::build(flavor, stand_ins.iter().cloned()).0;
        let losers = stand_ins.iter().filter_map(|route| Some(shadowed(route, &*shadow_of(route, &router)?)));
        findings.extend(losers);
    }
    for mut same in expressions.into_values() {
        same.sort_by_key(|route| std::cmp::Reverse((route.priority, route.id)));
        let (winner, losers) = (same.first().copied(), same.iter().skip(1));
        findings.extend(losers.filter_map(|route| Some(shadowed(route, winner?))));
    }
    findings
}

fn shadowed(route: &Route, winner: &Route) -> Finding {
    let id = winner.id.to_string();
    let winner = winner.name.as_deref().unwrap_or(&id);
    let message = format!("whatever it matches, the route {winner} matches first");
    Finding {
        rule: "shadowed-route",
        entity: "routes",
        id: route.id,
        name: route.name.as_deref().map(str::to_owned),
        message,
    }
}

/// All that a route of requests is matched by, but for what decides between equals. Lists that are sets are sorted.
#[derive(PartialEq, Eq, Hash)]
struct Predicates<'a> {
    lists: [Option<Vec<&'a str>>; 5],
    headers: Vec<(String, Vec<&'a str>)>,
    nets: String,
}

impl<'a> Predicates<'a> {
    fn of(route: &'a Route) -> Self {
        fn sorted<'a>(list: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
            let mut all: Vec<&str> = list.into_iter().map(String::as_str).collect();
            all.sort_unstable();
            all.dedup();
            all
        }
        let fields = [&route.paths, &route.hosts, &route.methods, &route.snis].map(|list| list.as_deref().map(sorted));
        let [paths, hosts, methods, snis] = fields;
        let mut headers: Vec<_> = route
            .headers
            .iter()
            .flat_map(|all| all.iter())
            .map(|(name, of)| (name.to_lowercase(), sorted(of)))
            .collect();
        headers.sort_unstable();
        let nets = format!("{:?} {:?}", route.sources, route.destinations);
        Self { lists: [paths, hosts, methods, snis, Some(sorted(route.protocols.iter()))], headers, nets }
    }
}

fn has_regex(route: &Route) -> bool {
    let mut values = route.headers.iter().flat_map(|headers| headers.values().flatten());
    route.paths.iter().flatten().any(|path| path.starts_with('~')) || values.any(|value| value.starts_with("~*"))
}

/// Begins the paths of stand-ins.
const STAND_IN: &str = "~/a-stand-in-";

/// The same route with regexes that match but one text each, by numbers that the regexes have got already.
fn stand_in(route: &Route, numbers: &mut HashMap<String, usize>) -> Route {
    let mut route = route.clone();
    let mut number = |regex: &str| {
        let next = numbers.len();
        *numbers.entry(regex.to_owned()).or_insert(next)
    };
    for path in route.paths.iter_mut().flatten().filter(|path| path.starts_with('~')) {
        *path = format!("{STAND_IN}{}$", number(path));
    }
    let values = route.headers.iter_mut().flat_map(|headers| headers.values_mut().flatten());
    for value in values.filter(|value| value.starts_with("~*")) {
        *value = format!("a-stand-in-{}", number(value));
    }
    route
}

/// Stands for what a wildcard leaves open: no route names it.
const UNNAMED: &str = "a-label-that-no-route-names";

/// The header fields of a request that is only asked about.
struct Sample(Vec<(String, String)>);

impl Fields for Sample {
    fn headers<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.0.iter().for_each(|(name, value)| visit(name.as_bytes(), value.as_bytes()));
    }

    fn query(&self) -> &[u8] {
        b""
    }
}

/// The route that takes all requests of this one; `None` where one gets through, or where no request can be made up for it. It
/// has no regex, or is a stand-in.
fn shadow_of(route: &Arc<Route>, router: &Router) -> Option<Arc<Route>> {
    let is_stream = |protocol: &String| matches!(protocol.as_str(), "tcp" | "tls" | "udp" | "tls_passthrough");
    if route.protocols.iter().any(is_stream) {
        return None;
    }
    let headers = header_samples(route)?;
    let hosts = match route.hosts.as_deref().unwrap_or_default() {
        [] => vec!["a-host-that-no-route-names.invalid".to_owned()],
        hosts => hosts.iter().map(|host| host.replace('*', UNNAMED)).collect(),
    };
    let paths: Vec<String> = match route.paths.as_deref().unwrap_or_default() {
        [] => vec!["/".to_owned(), "/a-path-that-no-route-names".to_owned()],
        paths => paths.iter().flat_map(|path| path_samples(path)).collect(),
    };
    let methods = match route.methods.as_deref().unwrap_or_default() {
        [] => vec!["GET".to_owned(), "A-METHOD-THAT-NO-ROUTE-NAMES".to_owned()],
        methods => methods.to_vec(),
    };
    let names = match route.snis.as_deref().unwrap_or_default() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.replace('*', UNNAMED))).collect(),
    };
    let mut winner = None;
    for (host, headers) in hosts.iter().flat_map(|host| headers.iter().map(move |headers| (host, headers))) {
        let mut fields = headers.clone();
        fields.push(("host".to_owned(), host.clone()));
        let fields = Sample(fields);
        for path in &paths {
            for (method, sni) in methods.iter().flat_map(|method| names.iter().map(move |name| (method, name))) {
                for protocol in [Protocol::Http, Protocol::Https] {
                    let query = Query {
                        protocol,
                        method,
                        host: Some(host.as_bytes()),
                        path: path.as_bytes(),
                        sni: sni.as_deref(),
                        source: Some(SocketAddr::from(([192, 0, 2, 1], 50_000))),
                        destination: Some(SocketAddr::from(([192, 0, 2, 2], 443))),
                        fields: &fields,
                    };
                    match router.find(&query) {
                        Some(found) if found.route.id == route.id => return None,
                        Some(found) => winner = Some(found.route.clone()),
                        // A request made up badly says nothing.
                        None => {}
                    }
                }
            }
        }
    }
    winner
}

/// Paths that match a prefix, or the regex of a stand-in.
fn path_samples(path: &str) -> Vec<String> {
    if path.starts_with(STAND_IN) {
        return vec![path.trim_matches(['~', '$']).to_owned()];
    }
    let ends = ["", "/", "a-path-that-no-route-names", "/a-path-that-no-route-names"];
    ends.map(|end| format!("{path}{end}")).into()
}

/// Requests are made up with this many combinations of header fields at most.
const MOST_SAMPLES: usize = 64;

/// Every combination of the values that a route's headers may have; `None` for too many.
fn header_samples(route: &Route) -> Option<Vec<Vec<(String, String)>>> {
    let mut samples = vec![Vec::new()];
    for (name, values) in route.headers.iter().flat_map(|headers| headers.iter()) {
        if samples.len() * values.len() > MOST_SAMPLES {
            return None;
        }
        let with = |sample: &Vec<_>, value: &String| [sample.as_slice(), &[(name.clone(), value.clone())]].concat();
        samples = samples.iter().flat_map(|sample| values.iter().map(move |value| with(sample, value))).collect();
    }
    Some(samples)
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Flavor, lint};
    use serde_json::{Value, json};

    fn row(entity: &str, number: u128, fields: Value) -> (String, Value) {
        let mut row = match entity {
            "routes" => json!({ "protocols": ["http", "https"], "https_redirect_status_code": 426, "strip_path": true,
                "preserve_host": false, "request_buffering": true, "response_buffering": true }),
            "services" => json!({ "protocol": "http", "host": "h", "port": 80, "enabled": true }),
            "plugins" => json!({ "name": "cors", "config": {}, "protocols": ["http"], "enabled": true }),
            _ => json!({}),
        };
        row["id"] = json!(uuid::Uuid::from_u128(number));
        row["created_at"] = json!(1);
        row["updated_at"] = json!(1);
        for (name, value) in fields.as_object().unwrap() {
            row[name] = value.clone();
        }
        (entity.to_owned(), row)
    }

    /// Rule and id of all findings.
    fn found(rows: Vec<(String, Value)>) -> Vec<(&'static str, u128)> {
        let mut from = Configuration::default();
        for (entity, row) in rows {
            from.set(&entity, &row).unwrap();
        }
        lint(&from, Flavor::TraditionalCompatible).iter().map(|f| (f.rule, f.id.as_u128())).collect()
    }

    fn to(number: u128) -> Value {
        json!({ "id": uuid::Uuid::from_u128(number) })
    }

    #[test]
    fn a_route_that_another_takes_everything_from_is_shadowed() {
        let cases = [
            (json!({ "paths": ["/a"] }), json!({ "paths": ["/a"] }), true),
            (json!({ "paths": ["/a"] }), json!({ "paths": ["/a", "/b"] }), true),
            (json!({ "paths": ["/a"] }), json!({ "paths": ["/"] }), false),
            (json!({ "paths": ["/a"] }), json!({ "paths": ["~/a$"] }), false),
            (json!({ "paths": ["/a"], "methods": ["GET"] }), json!({ "paths": ["/a"] }), false),
            (json!({ "hosts": ["*.x"] }), json!({ "hosts": ["*.x"] }), true),
            (json!({ "hosts": ["*.x"] }), json!({ "hosts": ["any.x"] }), false),
            (json!({ "headers": { "a": ["~*x"] } }), json!({ "headers": { "A": ["~*x"] } }), true),
            (json!({ "headers": { "a": ["~*x"] } }), json!({ "headers": { "a": ["~*y"] } }), false),
            (json!({ "paths": ["~/a$"] }), json!({ "paths": ["~/a$"] }), true),
            (json!({ "paths": ["~/a$"] }), json!({ "paths": ["~/b$"] }), false),
            (json!({ "paths": ["~/a$", "~/b$"] }), json!({ "paths": ["~/b$", "~/a$"] }), true),
            (json!({ "paths": ["~/a$"] }), json!({ "paths": ["~/a$", "/b"] }), false),
            (json!({ "paths": ["~/a$"] }), json!({ "paths": ["~/a$"], "methods": ["GET"] }), false),
            (json!({ "paths": ["~/a$"] }), json!({ "paths": ["~/a$"], "protocols": ["https"] }), false),
            (
                json!({ "paths": ["~/a$"], "methods": ["GET", "PUT"], "hosts": ["x", "*.y"], "snis": ["z"] }),
                json!({ "paths": ["~/a$"], "methods": ["PUT", "GET"], "hosts": ["*.y", "x"], "snis": ["z"] }),
                true,
            ),
            (json!({ "headers": { "a": ["x"] } }), json!({ "headers": { "a": ["x", "y"] } }), true),
            (json!({ "headers": { "a": ["x", "y"] } }), json!({ "headers": { "a": ["x"] } }), false),
            (json!({ "headers": { "a": ["x", "~*y"] } }), json!({ "headers": { "a": ["x"] } }), false),
        ];
        for (first, second, is_shadowed) in cases {
            let expected = if is_shadowed { vec![("shadowed-route", 1)] } else { Vec::new() };
            let rows = vec![row("routes", 1, first.clone()), row("routes", 2, second.clone())];
            assert_eq!(found(rows), expected, "{first} beside {second}");
        }
    }

    /// Of two with the same regex: who is tried first, by the flavor's order.
    #[test]
    fn of_routes_with_the_same_regexes_the_one_that_is_tried_later_is_shadowed() {
        use Flavor::{Traditional, TraditionalCompatible};
        let fields = |priority: i64, created_at: i64| json!({ "paths": ["~/a(?<b>.*)$"], "regex_priority": priority, "created_at": created_at });
        let cases = [
            // The greater id, or the older one.
            (TraditionalCompatible, fields(0, 1), fields(0, 2), 1),
            (Traditional, fields(0, 1), fields(0, 2), 2),
            (Traditional, fields(0, 2), fields(0, 1), 1),
            (TraditionalCompatible, fields(1, 1), fields(0, 1), 2),
            (Traditional, fields(0, 1), fields(1, 2), 1),
        ];
        for (flavor, first, second, shadowed) in cases {
            let mut from = Configuration::default();
            for (entity, row) in [row("routes", 1, first.clone()), row("routes", 2, second.clone())] {
                from.set(&entity, &row).unwrap();
            }
            let found: Vec<_> = lint(&from, flavor).iter().map(|f| (f.rule, f.id.as_u128())).collect();
            assert_eq!(found, [("shadowed-route", shadowed)], "{flavor:?}: {first} beside {second}");
        }
    }

    #[test]
    fn a_retry_policy_without_retries_is_told() {
        let policy = json!({ "http_statuses": [503] });
        // Of the service and of its route: retries, and whether there is a policy; who is told of.
        let cases = [
            ((json!(5), true), (json!(null), true), vec![]),
            ((json!(0), true), (json!(null), false), vec![10]),
            ((json!(0), true), (json!(1), false), vec![]),
            ((json!(0), true), (json!(1), true), vec![10]),
            ((json!(0), false), (json!(null), true), vec![1]),
            ((json!(5), false), (json!(0), true), vec![1]),
            ((json!(0), false), (json!(0), false), vec![]),
            ((json!(null), true), (json!(null), true), vec![]),
        ];
        for (service, route, expected) in cases {
            let fields = |(retries, has_policy): &(Value, bool)| {
                let own = if *has_policy { policy.clone() } else { Value::Null };
                json!({ "retries": retries, "retry_policy": own })
            };
            let mut of_route = fields(&route);
            of_route["paths"] = json!(["/a"]);
            of_route["service"] = to(10);
            let rows = vec![row("services", 10, fields(&service)), row("routes", 1, of_route)];
            let expected: Vec<_> = expected.into_iter().map(|id| ("retry-policy-without-retries", id)).collect();
            assert_eq!(found(rows), expected, "{service:?} {route:?}");
        }
    }

    #[test]
    fn what_nothing_leads_to_is_told() {
        let rows = vec![
            row("services", 10, json!({})),
            row("services", 11, json!({})),
            row("services", 12, json!({ "enabled": false })),
            row("routes", 1, json!({ "paths": ["/a"], "service": to(10) })),
            row("routes", 2, json!({ "paths": ["/b"], "service": to(12) })),
            row("plugins", 20, json!({ "service": to(10) })),
            row("plugins", 21, json!({ "service": to(11) })),
            row("plugins", 22, json!({ "service": to(11), "route": to(1) })),
            row("plugins", 23, json!({ "route": to(2) })),
            row("plugins", 24, json!({ "route": to(99) })),
            row("plugins", 25, json!({ "consumer": to(99), "enabled": false })),
            row("plugins", 26, json!({ "route": to(1), "protocols": ["grpc", "grpcs"] })),
            row("plugins", 27, json!({ "route": to(1), "protocols": ["grpc", "https"] })),
            row("keyauth_credentials", 30, json!({ "key": "k", "consumer": to(99) })),
            row(
                "oauth2_credentials",
                31,
                json!({ "name": "n", "client_id": "i", "client_secret": "s", "consumer": to(99),
                "hash_secret": false, "client_type": "confidential", "redirect_uris": [] }),
            ),
            row("mtls_auth_credentials", 32, json!({ "subject_name": "n", "consumer": to(99) })),
        ];
        let expected = vec![
            ("credential-without-consumer", 30),
            ("credential-without-consumer", 32),
            ("credential-without-consumer", 31),
            ("service-without-routes", 11),
            ("unreachable-plugin", 21),
            ("unreachable-plugin", 22),
            ("unreachable-plugin", 23),
            ("unreachable-plugin", 24),
            ("unreachable-plugin", 26),
        ];
        assert_eq!(found(rows), expected);
    }
}
