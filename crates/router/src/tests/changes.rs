//! Routers made from routers.

use std::sync::Arc;

use uuid::Uuid;

use super::naive::Dice;
use super::{Request, route};
use crate::{Flavor, HasRoute, Route, Router};

fn find(router: &Router, request: &Request) -> Option<Uuid> {
    router.find(&request.query()).map(|found| found.route.id)
}

#[test]
fn many_routes_at_once_are_found_like_few() {
    let routes = (0..3000).map(|n| route(n, &format!("paths=/r{n} hosts=h{n}.test,*.w{n}.test")));
    let router = Router::build(Flavor::default(), routes).0;
    for n in (0..3000).step_by(7) {
        for host in [format!("h{n}.test"), format!("x.w{n}.test")] {
            let request = Request::new(&format!("GET http://{host}/r{n}/x"));
            assert_eq!(find(&router, &request), Some(Uuid::from_u128(n)));
        }
    }
}

#[test]
fn many_regexes_that_begin_alike_are_found_like_few() {
    const COUNT: u128 = 160;
    for flavor in [Flavor::TraditionalCompatible, Flavor::Traditional, Flavor::Expressions] {
        let of = |n: u128| {
            let text = match n % 5 {
                // Some are no regexes, some match more than their own requests, some not from the start on.
                0 => format!("paths=/ methods=M{n}"),
                1 => format!("paths=~/[a-z]+/n{n}$,~/x/[0-9]+/{n}/ x-a:1"),
                2 => format!("paths=~/[^/]*/(?<id>n{n}|m{n})$ created_at={n}"),
                3 if flavor == Flavor::Expressions => {
                    format!("expression=http.method == \"GET\" && http.path ~ \"/n({n}|{})$\"", n + 1)
                }
                3 => format!("paths=~/[a-z]+/n({n}|{})$ methods=GET,PUT", n + 1),
                _ => format!("paths=~/.*/n{n}$|b{n} hosts=h{n}.test,h"),
            };
            route(n, &text)
        };
        let requests: Vec<Request> = (0..COUNT)
            .step_by(3)
            .flat_map(|n| {
                [
                    format!("GET http://h/ab/n{n}"),
                    format!("PUT http://h{n}.test/A/n{n}"),
                    format!("M{n} http://h/x"),
                    format!("GET http://h/-/m{n} x-a=1"),
                    format!("GET http://h/x/1/{n}/y x-a=1"),
                    format!("GET http://i/1/nn{n}"),
                    format!("GET http://h/z/b{n}"),
                ]
            })
            .map(|request| Request::new(&request))
            .collect();
        let mut routes: Vec<Arc<Route>> = (0..COUNT).map(of).collect();
        let mut router = Router::build(flavor, routes.iter().cloned()).0;
        for gone in [0..0, 0..40, 90..150] {
            routes.retain(|route| !gone.contains(&route.id.as_u128()));
            let gone: Vec<Uuid> = gone.map(Uuid::from_u128).collect();
            router = router.with_changes(&gone, []).0;
            let alone: Vec<Router> = routes.iter().map(|route| Router::build(flavor, [route.clone()]).0).collect();
            let mut most = 0;
            for request in &requests {
                let fit = routes.iter().zip(&alone).filter(|(_, alone)| find(alone, request).is_some());
                let few: Vec<_> = fit.map(|(route, _)| route.clone()).collect();
                most = most.max(few.len());
                let expected = find(&Router::build(flavor, few).0, request);
                assert_eq!(find(&router, request), expected, "{flavor:?} {request:?}");
            }
            assert!((2..8).contains(&most), "{most} routes fit one request: this compares nothing");
        }
    }
}

#[test]
fn a_changed_router_finds_what_a_new_one_finds() {
    for flavor in [Flavor::TraditionalCompatible, Flavor::Traditional, Flavor::Expressions] {
        let mut dice = Dice(42);
        let requests: Vec<_> = (0..60).map(|_| Request::new(&dice.request())).collect();
        let mut router = Router::build(flavor, []).0;
        let mut routes: Vec<Arc<Route>> = Vec::new();
        for step in 0..300u128 {
            let mut removed = Vec::new();
            for _ in 0..dice.roll(3) {
                if routes.len() > 8 {
                    removed.push(routes.swap_remove(dice.roll(routes.len())).id);
                }
            }
            let mut added: Vec<_> = (0..dice.roll(3)).map(|at| route(step * 10 + at as u128, &dice.route())).collect();
            if let Some(changed) = routes.pop() {
                added.push(route(changed.id.as_u128(), &dice.route()));
            }
            router = router.with_changes(&removed, added.iter().cloned()).0;
            routes.extend(added);
            let fresh = Router::build(flavor, routes.iter().cloned()).0;
            assert_eq!(router.len(), fresh.len());
            for request in &requests {
                assert_eq!(find(&router, request), find(&fresh, request), "step {step}, {request:?}");
            }
        }
        let all: Vec<_> = routes.iter().map(|route| route.id).collect();
        let empty = router.with_changes(&all, []).0;
        assert!(empty.is_empty() && requests.iter().all(|request| find(&empty, request).is_none()));
        // Nothing of what was removed is left behind.
        let untouched = Router::build(flavor, []).0;
        assert_eq!(
            format!("{empty:?}").len(),
            format!(
                "{:?}",
                untouched
                    .with_changes(&[], [route(1, "hosts=*.a,b.*,c paths=/x")])
                    .0
                    .with_changes(&[Uuid::from_u128(1)], [])
                    .0
            )
            .len()
        );
    }
}

#[test]
fn the_old_router_stays_as_it_was() {
    let old = Router::build(Flavor::default(), [route(1, "hosts=a"), route(2, "paths=/x")]).0;
    let new = old.with_changes(&[Uuid::from_u128(1)], [route(2, "paths=/y"), route(3, "hosts=a paths=/x")]).0;
    let request = Request::new("GET http://a/x");
    assert_eq!(find(&old, &request), Some(Uuid::from_u128(1)));
    assert_eq!(find(&new, &request), Some(Uuid::from_u128(3)));
    assert_eq!((old.len(), new.len()), (2, 2));
}

#[test]
fn a_change_shares_the_names_it_does_not_touch() {
    let routes = (0..2000).map(|number| route(number, &format!("hosts=h{number}.test paths=/a")));
    let old = Router::build(Flavor::default(), routes).0;
    let new = old.with_changes(&[], [route(7, "hosts=h7.test paths=/b")]).0;
    assert!((1..=16).contains(&new.copied_names(&old)));
}

/// Something that holds a route.
#[derive(Clone)]
struct Numbered(Arc<Route>, u8);

impl HasRoute for Numbered {
    fn route(&self) -> &Arc<Route> {
        &self.0
    }
}

#[test]
fn what_holds_a_route_is_exchanged_wherever_the_route_is_found() {
    let texts = ["hosts=a,*.b paths=/x,/y/z,~/r/[0-9]+$", "paths=/x methods=GET", "hosts=c"];
    let routes: Vec<_> = texts.iter().enumerate().map(|(at, text)| route(at as u128 + 1, text)).collect();
    let requests = ["GET http://a/x", "GET http://1.b/y/z/1", "GET http://a/r/12", "GET http://d/x", "GET http://c/"];
    for flavor in [Flavor::TraditionalCompatible, Flavor::Traditional, Flavor::Expressions] {
        let number = |router: &Router<Numbered>, text: &&str| {
            let request = Request::new(text);
            router.find(&request.query()).map(|found| (found.route.0.id.as_u128(), found.route.1))
        };
        let old = Router::build(flavor, routes.iter().map(|route| Numbered(Arc::clone(route), 0))).0;
        let (new, errors) = old.with_changes(&[], [Numbered(Arc::clone(&routes[0]), 1)]);
        assert_eq!((errors.len(), old.len(), new.len()), (0, 3, 3));
        for (router, first) in [(&old, 0), (&new, 1)] {
            let found: Vec<_> = requests.iter().map(|text| number(router, text)).collect();
            assert_eq!(found, [(1, first), (1, first), (1, first), (2, 0), (3, 0)].map(Some), "{flavor:?}");
        }
    }
}
