//! The index against a list: random routes and requests, and for each request every route tried in turn.

use std::sync::Arc;

use atc_router::ast::Value;
use entities::route::expression::{Matchers, fields, path_regex};
use uuid::Uuid;

use super::{Request, route};
use crate::compile::plans;
use crate::definition::Definition;
use crate::{Flavor, Protocol, Route, Router};

/// A small generator, so that a failure comes back.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn list(&mut self, from: &[&str]) -> String {
        (0..=self.roll(2)).map(|_| self.pick(from)).collect::<Vec<_>>().join(",")
    }

    pub(super) fn route(&mut self) -> String {
        const HOSTS: &[&str] = &[
            "a.test",
            "b.test",
            "x.a.test",
            "*.a.test",
            "*.test",
            "a.*",
            "x.*",
            "a.test:8000",
            "*.test:81",
            "b.test:443",
        ];
        const PATHS: &[&str] = &[
            "/",
            "/a",
            "/ab",
            "/a/",
            "/a/b",
            "/a/bc",
            "/b",
            "/x/y",
            "~/a",
            "~/a/[bc]",
            "~/(a|x)/",
            "~/.*b",
            "~/a/(?<n>.)c?",
            "~/b$",
        ];
        let mut text = String::new();
        while text.is_empty() {
            if self.roll(2) == 0 {
                text += &format!(" hosts={}", self.list(HOSTS));
            }
            if self.roll(3) > 0 {
                text += &format!(" paths={}", self.list(PATHS));
            }
            if self.roll(4) == 0 {
                text += &format!(" methods={}", self.list(&["GET", "POST", "PUT"]));
            }
            if self.roll(5) == 0 {
                text += &format!(" {}:{}", self.pick(&["x-a", "x_b"]), self.pick(&["1", "1|2", "~*[12]", "Aa"]));
            }
            if self.roll(8) == 0 {
                text += &format!(" snis={}", self.list(&["a.test", "b.test"]));
            }
        }
        format!("{text} regex_priority={} created_at={}", self.roll(3), self.roll(1000))
    }

    fn expression(&mut self, depth: usize) -> String {
        const TESTS: &[&str] = &[
            r#"http.host == "a.test""#,
            r#"http.host =^ ".test""#,
            r#"http.host ^= "x.""#,
            r#"http.host != "b.test""#,
            r#"lower(http.host) == "a.test""#,
            r#"http.path == "/a""#,
            r#"http.path ^= "/a/""#,
            r#"http.path ^= "/""#,
            r#"http.path != "/b""#,
            r#"http.path ~ "^/a/[bc]""#,
            r#"http.path ~ "b$""#,
            r#"lower(http.path) ^= "/a""#,
            r#"http.path contains "/b""#,
            r#"http.method == "GET""#,
            r#"any(http.headers.x_a) == "1""#,
            r#"http.headers.x_a != "1""#,
            r#"net.protocol == "https""#,
            r#"tls.sni == "a.test""#,
            "net.src.port > 1024",
            "net.src.ip in 10.0.0.0/8",
        ];
        if depth == 0 || self.roll(4) == 0 {
            return self.pick(TESTS).to_owned();
        }
        let (left, right) = (self.expression(depth - 1), self.expression(depth - 1));
        match self.roll(5) {
            0 => format!("!({left})"),
            1 | 2 => format!("({left} || {right})"),
            3 => format!("{left} && {right} || {left}"),
            _ => format!("({left}) && ({right})"),
        }
    }

    pub(super) fn request(&mut self) -> String {
        let scheme = self.pick(&["http", "https"]);
        let host = self.pick(&["a.test", "b.test", "x.a.test", "y.x.test", "a.b", "A.test", "x.y.a.test", ".test", ""]);
        let port = self.pick(&["", "", "", ":81", ":8000", ":443"]);
        let path =
            self.pick(&["", "a", "ab", "abc", "a/", "a/b", "a/bcd", "a/c", "b", "bb", "x/", "x/y/z", "A/b", "x/b"]);
        let mut text = format!(
            "{} {scheme}://{host}{}/{path}",
            self.pick(&["GET", "POST"]),
            if host.is_empty() { "" } else { port }
        );
        if self.roll(2) == 0 {
            text += &format!(" {}:{}", self.pick(&["X-A", "X_A", "x-b", "x_b"]), self.pick(&["1", "2", "aA", "x"]));
        }
        if scheme == "https" && self.roll(3) > 0 {
            text += &format!(" sni={}", self.pick(&["a.test", "b.test", "c"]));
        }
        text
    }
}

/// One candidate as Kong has it: an expression, with a priority and an id of its own.
pub(super) struct Listed {
    priority: u64,
    id: Uuid,
    route: Uuid,
    expression: atc_router::ast::Expression,
}

/// Splits a route as Kong does, and parses the expression of each part.
pub(super) fn list(flavor: Flavor, route: &Arc<Route>) -> Vec<Listed> {
    let definition = Definition::from(route.as_ref());
    if flavor == Flavor::Expressions
        && let Some(text) = &definition.expression
    {
        let plan = &plans(flavor, &definition).unwrap()[0];
        let expression = atc_router::parser::parse(text).unwrap();
        return vec![Listed { priority: plan.rank.major(), id: plan.rank.tie_id(), route: route.id, expression }];
    }
    // Each path alone has its group's priority; of equals the first counts, so they keep their order.
    let whole = plans(flavor, &definition).unwrap();
    whole
        .iter()
        .enumerate()
        .map(|(at, plan)| {
            let paths = route.paths.iter().flatten().skip(at).take(1).map(String::as_str).collect();
            let text = Matchers { paths, ..Matchers::from(route.as_ref()) }.expression();
            let expression = atc_router::parser::parse(&text).unwrap();
            Listed { priority: plan.rank.major(), id: plan.rank.tie_id(), route: route.id, expression }
        })
        .collect()
}

/// The first that holds, best first: Kong's own engine decides what holds.
pub(super) fn find_in_list(listed: &[Listed], request: &Request) -> Option<(Uuid, Option<String>)> {
    use atc_router::interpreter::Execute;
    let schema = fields(false);
    listed.iter().find_map(|candidate| {
        let is_expression = candidate.priority >= 0xFF << 56;
        let mut context = request.context(&schema, is_expression);
        let mut found = atc_router::context::Match::new();
        candidate.expression.execute(&mut context, &mut found).then(|| {
            let prefix = found.matches.get("http.path").map(|value| match value {
                Value::String(text) => text.clone(),
                other => panic!("{other:?}"),
            });
            (candidate.route, prefix)
        })
    })
}

pub(super) fn sorted(mut listed: Vec<Listed>) -> Vec<Listed> {
    listed.sort_by_key(|candidate| std::cmp::Reverse((candidate.priority, candidate.id)));
    listed
}

#[test]
fn the_index_agrees_with_kongs_engine_over_a_list() {
    let mut dice = Dice(1);
    let mut hits = 0;
    for round in 0..60 {
        let flavor = if round % 2 == 0 { Flavor::TraditionalCompatible } else { Flavor::Expressions };
        let routes: Vec<_> = (0..40)
            .map(|number| {
                let text = if flavor == Flavor::Expressions && dice.roll(2) == 0 {
                    format!("priority={} expression={}", dice.roll(5), dice.expression(3))
                } else {
                    dice.route()
                };
                route(number * 7919 % 1000 + 1, &text)
            })
            .collect();
        let listed = sorted(routes.iter().flat_map(|route| list(flavor, route)).collect());
        let (router, errors) = Router::build(flavor, routes.iter().cloned());
        assert_eq!(errors, []);
        for _ in 0..120 {
            let text = dice.request();
            let request = Request::new(&text);
            let query = request.query();
            let found = router.find(&query);
            let expected = find_in_list(&listed, &request);
            assert_eq!(
                found.as_ref().map(|found| found.route.id),
                expected.as_ref().map(|(id, _)| *id),
                "{text} {routes:#?}"
            );
            if let (Some(found), Some((_, Some(prefix)))) = (&found, &expected)
                && query.path.starts_with(prefix.as_bytes())
            {
                hits += 1;
                // What was found elsewhere in the path may equal its start; only then may none be told.
                assert!(found.prefix.is_none_or(|own| own == prefix.as_bytes()), "{text} {routes:#?}");
            }
        }
    }
    assert!(hits > 2000, "{hits}");
}

/// Whether a route of the traditional flavor matches with one of its paths, by the letter of the specification.
fn matches_traditional(route: &Route, path: Option<&String>, request: &Request) -> bool {
    let query = request.query();
    let host = request.host.as_deref().unwrap_or_default();
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let scheme_port = if query.protocol == Protocol::Https { "443" } else { "80" };
    let port = if port.is_empty() { scheme_port } else { port };
    let is_host = |rule: &String| {
        let (rule, rule_port) = rule.split_once(':').unwrap_or((rule, port));
        let is_name = match (rule.strip_prefix('*'), rule.strip_suffix('*')) {
            (Some(end), _) => name.len() > end.len() && name.ends_with(end),
            (_, Some(start)) => name.len() > start.len() && name.starts_with(start),
            _ => name == rule,
        };
        is_name && rule_port == port
    };
    let is_path = |path: &String| {
        let text = std::str::from_utf8(query.path).unwrap();
        match path.strip_prefix('~') {
            Some(regex) => regex::Regex::new(&path_regex(&format!("(?:{regex})"))).unwrap().is_match(text),
            None => text.starts_with(path.as_str()),
        }
    };
    let is_value = |values: &[String], own: &str| match values {
        [only] if only.starts_with("~*") => regex::Regex::new(only.strip_prefix("~*").unwrap()).unwrap().is_match(own),
        values => values.iter().any(|value| value.to_lowercase() == own),
    };
    let has_header = |(name, values): (&String, &Vec<String>)| {
        let dashed = name.replace('_', "-");
        let has = |name: &str| request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let name = if has(name) { name } else { &dashed };
        let mut own = request.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        own.any(|(_, own)| is_value(values, &own.to_lowercase()))
    };
    route.hosts.as_ref().is_none_or(|hosts| !host.is_empty() && hosts.iter().any(is_host))
        && path.is_none_or(is_path)
        && route.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method == query.method))
        && route.headers.as_ref().is_none_or(|headers| headers.iter().all(has_header))
        && route.snis.as_ref().is_none_or(|snis| {
            query.protocol == Protocol::Http || query.sni.is_some_and(|sni| snis.iter().any(|other| other == sni))
        })
}

#[test]
fn the_index_agrees_with_a_list_in_the_traditional_flavor() {
    let mut dice = Dice(2);
    let mut hits = 0;
    for _ in 0..60 {
        let routes: Vec<_> = (0..40).map(|number| route(number * 7919 % 1000 + 1, &dice.route())).collect();
        let router = Router::build(Flavor::Traditional, routes.iter().cloned()).0;
        let mut listed = Vec::new();
        for route in &routes {
            let plans = plans(Flavor::Traditional, &Definition::from(route.as_ref())).unwrap();
            for (at, plan) in plans.iter().enumerate() {
                listed.push((plan.rank, route.id, route, route.paths.as_ref().map(|paths| &paths[at])));
            }
        }
        listed.sort_by_key(|(rank, id, ..)| std::cmp::Reverse((*rank, *id)));
        for _ in 0..120 {
            let text = dice.request();
            let request = Request::new(&text);
            let find = |with_sni: Option<bool>| {
                let wanted = |route: &Route| with_sni.is_none_or(|with| route.snis.is_some() == with);
                let mut matching = listed
                    .iter()
                    .filter(|(.., route, path)| wanted(route) && matches_traditional(route, *path, &request));
                matching.next().map(|(_, id, ..)| *id)
            };
            let expected =
                if text.contains("https:") { find(None) } else { find(Some(false)).or_else(|| find(Some(true))) };
            let found = router.find(&request.query()).map(|found| found.route.id);
            assert_eq!(found, expected, "{text} {routes:#?}");
            hits += usize::from(found.is_some());
        }
    }
    assert!(hits > 3000, "{hits}");
}
