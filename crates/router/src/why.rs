//! Why a route does not match: for people who ask, never for a request.

use std::sync::Arc;

use crate::{Flavor, Query, Route, Router};

/// The attributes of a route that a request does not meet, by their fields' names; none where it meets them all.
#[must_use]
pub fn unmet(flavor: Flavor, route: &Route, query: &Query<'_>) -> Vec<&'static str> {
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
    if flavor == Flavor::Expressions && route.expression.is_some() {
        return if matches(route.clone()) { Vec::new() } else { vec!["expression"] };
    }
    let mut unmet = Vec::new();
    let mut check = |name, is_set: bool, one: Route| {
        if is_set && !matches(one) {
            unmet.push(name);
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
