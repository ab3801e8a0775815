//! Routes and requests as text, and what the flavors make of them.

mod changes;
mod expressions;
mod faults;
pub(crate) mod naive;
mod stream;
mod traditional;
mod traditional_compatible;

use std::sync::Arc;

use uuid::Uuid;

pub(crate) use crate::fuzzing::Request;
use crate::{Flavor, Match, Route, Router};

/// A route from words like `hosts=a.test,*.b.test paths=/a,~/b methods=GET x-kind:red|blue`; a word with a colon before any
/// `=` is a header. `expression=` takes the rest of the line.
pub(crate) fn route(number: u128, text: &str) -> Arc<Route> {
    let mut route = Route { id: Uuid::from_u128(number), protocols: words("http,https"), ..Route::default() };
    let mut rest = text;
    while !rest.trim().is_empty() {
        rest = rest.trim_start();
        if let Some(expression) = rest.strip_prefix("expression=") {
            route.expression = Some(expression.into());
            break;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        set(&mut route, word);
    }
    Arc::new(route)
}

fn set(route: &mut Route, word: &str) {
    match word.split_once([':', '=']) {
        Some(("hosts", value)) => route.hosts = Some(words(value)),
        Some(("paths", value)) => route.paths = Some(words(value)),
        Some(("methods", value)) => route.methods = Some(words(value)),
        Some(("snis", value)) => route.snis = Some(words(value)),
        Some(("protocols", value)) => route.protocols = words(value),
        Some(("sources", value)) => route.sources = Some(value.split(',').map(net).collect()),
        Some(("destinations", value)) => route.destinations = Some(value.split(',').map(net).collect()),
        Some(("regex_priority", value)) => route.regex_priority = Some(value.parse().unwrap()),
        Some(("priority", value)) => route.priority = Some(value.parse().unwrap()),
        Some(("created_at", value)) => route.created_at = value.parse().unwrap(),
        Some((header, values)) => {
            let values = values.split('|').map(str::to_owned).collect();
            route.headers.get_or_insert_default().insert(header.to_owned(), values);
        }
        None => panic!("not understood: {word}"),
    }
}

fn words<L: FromIterator<String>>(text: &str) -> L {
    text.split(',').map(str::to_owned).collect()
}

/// `10.0.0.0/8`, `10.0.0.1@80` or `@80`.
fn net(text: &str) -> entities::route::Net {
    let (ip, port) = text.split_once('@').unwrap_or((text, ""));
    entities::route::Net { ip: (!ip.is_empty()).then(|| ip.to_owned()), port: port.parse().ok() }
}

pub(super) fn router(flavor: Flavor, routes: &[&str]) -> Router {
    let routes = routes.iter().enumerate().map(|(at, text)| route(at as u128 + 1, text));
    let (router, errors) = Router::build(flavor, routes);
    assert_eq!(errors, []);
    router
}

/// Which of the routes (from 1; 0 for none) each request finds.
pub(super) fn check(flavor: Flavor, routes: &[&str], requests: &[(&str, u128)]) {
    let forward = router(flavor, routes);
    for (text, expected) in requests {
        let request = Request::new(text);
        let found = forward.find(&request.query()).map_or(0, |found| found.route.id.as_u128());
        assert_eq!(found, *expected, "{text}\n{routes:#?}");
    }
    // The order in which routes were made must not matter, nor whether all came at once.
    let mut backward = Router::build(flavor, []).0;
    for (at, text) in routes.iter().enumerate().rev() {
        backward = backward.with_changes(&[], [route(at as u128 + 1, text)]).0;
    }
    for (text, expected) in requests {
        let request = Request::new(text);
        let found = backward.find(&request.query()).map_or(0, |found| found.route.id.as_u128());
        assert_eq!(found, *expected, "{text}, routes added one by one\n{routes:#?}");
    }
}

/// The prefix and the captures of the match.
pub(super) fn check_match(flavor: Flavor, text: &str, request: &str, prefix: Option<&str>, captures: &[(&str, &str)]) {
    let router = router(flavor, &[text]);
    let request = Request::new(request);
    let query = request.query();
    let found: Match<'_, '_, _> = router.find(&query).unwrap();
    assert_eq!(found.prefix.map(String::from_utf8_lossy).as_deref(), prefix, "{text}");
    let mut got = Vec::new();
    if let Some(captured) = &found.captures {
        for (number, value) in captured.numbered().skip(1) {
            assert_eq!(captured.get(number), Some(value));
            got.push((number.to_string(), String::from_utf8_lossy(value).into_owned()));
        }
        for (name, value) in captured.named() {
            assert_eq!(captured.name(name), Some(value));
            got.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
        }
    }
    let expected: Vec<_> = captures.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(got, expected, "{text}");
}
