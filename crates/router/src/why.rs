//! Why a route does not match: for people who ask, never for a request.

use std::sync::Arc;

use crate::{Flavor, Query, Route, Router};

/// What of a route a request does not meet: attributes by their fields' names, of an expression those of its terms that must all
/// hold. None where it meets them all.
#[must_use]
pub fn unmet(flavor: Flavor, route: &Route, query: &Query<'_>) -> Vec<String> {
    let bare = Route {
        hosts: None,
        paths: None,
        methods: None,
        headers: None,
        snis: None,
        sources: None,
        destinations: None,
        expression: None,
        ..route.clone()
    };
    // A route with one attribute alone matches where that attribute does.
    let matches = |route: Route| Router::build(flavor, [Arc::new(route)]).0.find(query).is_some();
    if flavor == Flavor::Expressions
        && let Some(expression) = &route.expression
    {
        if matches(route.clone()) {
            return Vec::new();
        }
        let holds = |term: &&str| matches(Route { expression: Some((*term).into()), ..bare.clone() });
        let unmet: Vec<String> = terms(expression).into_iter().filter(|term| !holds(term)).map(str::to_owned).collect();
        // Its protocols, which are no part of its text.
        return if unmet.is_empty() { vec!["protocols".to_owned()] } else { unmet };
    }
    let mut unmet = Vec::new();
    let mut check = |name, is_set: bool, one: Route| {
        if is_set && !matches(one) {
            unmet.push(String::from(name));
        }
    };
    check("hosts", route.hosts.is_some(), Route { hosts: route.hosts.clone(), ..bare.clone() });
    check("paths", route.paths.is_some(), Route { paths: route.paths.clone(), ..bare.clone() });
    check("methods", route.methods.is_some(), Route { methods: route.methods.clone(), ..bare.clone() });
    check("headers", route.headers.is_some(), Route { headers: route.headers.clone(), ..bare.clone() });
    check("snis", route.snis.is_some(), Route { snis: route.snis.clone(), ..bare.clone() });
    check("sources", route.sources.is_some(), Route { sources: route.sources.clone(), ..bare.clone() });
    check("destinations", route.destinations.is_some(), Route { destinations: route.destinations.clone(), ..bare });
    unmet
}

/// The parts of an expression that must all hold; the whole of it where it begins otherwise.
fn terms(expression: &str) -> Vec<&str> {
    let expression = expression.trim();
    let bytes = expression.as_bytes();
    let (mut at, mut depth, mut begin) = (0, 0_usize, 0);
    let mut parts = Vec::new();
    // Where the parenthesis closes that the expression begins with.
    let mut closed = None;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += text_length(&bytes[at..], at > 1 && bytes[at - 1] == b'#' && bytes[at - 2] == b'r'),
            b'(' => depth += 1,
            b')' => {
                depth = depth.saturating_sub(1);
                closed = closed.or((depth == 0).then_some(at));
            }
            b'|' if depth == 0 => return vec![expression],
            b'&' if depth == 0 => {
                parts.extend(expression.get(begin..at));
                at += 1;
                begin = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if parts.is_empty() {
        let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        return inner.filter(|inner| closed == Some(inner.len() + 1)).map_or_else(|| vec![expression], terms);
    }
    parts.extend(expression.get(begin..));
    parts.into_iter().flat_map(terms).collect()
}

/// How many bytes a literal goes on behind its first quote, to its last one.
fn text_length(literal: &[u8], is_raw: bool) -> usize {
    let mut is_escaped = false;
    let end = literal.iter().enumerate().skip(1).position(|(at, byte)| {
        let is_end = *byte == b'"' && !is_escaped && (!is_raw || literal.get(at + 1) == Some(&b'#'));
        is_escaped = !is_raw && *byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(literal.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Request, route};

    #[test]
    fn expressions_fall_into_the_terms_that_must_all_hold() {
        for (expression, expected) in [
            ("a == 1", vec!["a == 1"]),
            (" a == 1 &&b == 2&& c == 3 ", vec!["a == 1", "b == 2", "c == 3"]),
            ("a == 1 || b == 2 && c == 3", vec!["a == 1 || b == 2 && c == 3"]),
            ("(a == 1 && (b == 2 || c == 3)) && d == 4", vec!["a == 1", "b == 2 || c == 3", "d == 4"]),
            ("!(a == 1 && b == 2) && c == 3", vec!["!(a == 1 && b == 2)", "c == 3"]),
            ("(a == 1) && (b == 2)", vec!["a == 1", "b == 2"]),
            (r#"a == "(&& \" ||" && b == 2"#, vec![r#"a == "(&& \" ||""#, "b == 2"]),
            (r##"a ~ r#"\"&&\"# && b == 2"##, vec![r##"a ~ r#"\"&&\"#"##, "b == 2"]),
            ("", vec![""]),
            ("a == \"", vec!["a == \""]),
            ("&&", vec!["", ""]),
            ("&", vec![""]),
            (")", vec![")"]),
            ("(é) && é", vec!["é", "é"]),
        ] {
            assert_eq!(terms(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_unmet_is_told_in_every_flavor() {
        let classic = "hosts=a.test paths=/a,~/b methods=GET x-a:1";
        let expression = r#"expression=http.host == "a.test" && (http.path ^= "/a" || http.path ~ "^/b") && any(http.headers.x_a) == "1""#;
        let paths = r#"http.path ^= "/a" || http.path ~ "^/b""#;
        let host = r#"http.host == "a.test""#;
        for (flavor, text, request, expected) in [
            (Flavor::TraditionalCompatible, classic, "GET http://a.test/b x-a=1", vec![]),
            (Flavor::TraditionalCompatible, classic, "PUT http://a.test/c x-a=2", vec!["paths", "methods", "headers"]),
            (Flavor::Traditional, classic, "GET http://b.test/a x-a=1", vec!["hosts"]),
            (Flavor::Expressions, expression, "GET http://a.test/b x-a=1", vec![]),
            (Flavor::Expressions, expression, "GET http://b.test/c x-a=1", vec![host, paths]),
            (
                Flavor::Expressions,
                &expression.replace("expression=", "protocols=https expression="),
                "GET http://b.test/a x-a=1",
                vec![host],
            ),
        ] {
            let request = Request::new(request);
            assert_eq!(unmet(flavor, &route(1, text), &request.query()), expected, "{flavor:?} {request:?}");
        }
    }
}
