//! What a change touches, and what it leaves alone.

use super::super::services::ServiceEntry;
use super::super::{Endpoint, SnapshotHandle};
use super::{Builder, environment, found, id, query, route};
use entities::{Configuration, Plugin, Service, Target, Touched, Upstream};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

const ROUTES: usize = 2000;

fn service(number: usize, host: &str) -> Arc<Service> {
    let protocol = "http".to_owned();
    Arc::new(Service { id: id(2, number), protocol, host: host.to_owned(), enabled: true, ..Service::default() })
}

fn plugin(number: usize, route: Option<Uuid>, service: Option<Uuid>) -> Arc<Plugin> {
    let foreign = |id: Uuid| serde_json::from_value(json!({ "id": id })).unwrap();
    Arc::new(Plugin {
        id: id(3, number),
        name: "two".into(),
        enabled: true,
        protocols: vec!["http".into()],
        config: json!({}),
        route: route.map(foreign),
        service: service.map(foreign),
        ..Plugin::default()
    })
}

/// Twenty services with a hundred routes each; the first has an upstream.
fn configuration() -> Configuration {
    let mut all = Configuration::default();
    for number in 0..ROUTES / 100 {
        let host = if number == 0 { "balanced" } else { "127.0.0.1" };
        all.services.insert(id(2, number), service(number, host));
    }
    for number in 0..ROUTES {
        all.routes.insert(id(1, number), route(number, &format!("/r{number}/"), Some(id(2, number / 100))));
    }
    let upstream = Upstream { id: id(4, 0), name: "balanced".into(), ..Upstream::default() };
    all.upstreams.insert(upstream.id, Arc::new(upstream));
    all
}

#[test]
fn a_change_copies_the_part_it_is_in() {
    let mut from = configuration();
    let mut builder = Builder::new(environment());
    let old = builder.build(&from, true).0;

    let new_route = route(7, "/other/", Some(id(2, 0)));
    let before = from.routes.insert(new_route.id, new_route.clone());
    let new = builder.change(&[Touched::Routes(before, Some(new_route))], &from).0;
    assert_eq!((found(&old, "/r7/"), found(&old, "/other/")), (Some(id(1, 7)), None));
    assert_eq!((found(&new, "/r7/"), found(&new, "/other/")), (None, Some(id(1, 7))));
    assert!((1..=16).contains(&new.router.copied_routes(&old.router)));
    assert!(Arc::ptr_eq(&old.services, &new.services) && Arc::ptr_eq(&old.instances, &new.instances));
    let old = new;

    let new_service = service(3, "127.0.0.2");
    let before = from.services.insert(new_service.id, new_service.clone());
    let new = builder.change(&[Touched::Services(before, Some(new_service))], &from).0;
    assert!(Arc::ptr_eq(&old.router, &new.router));
    assert_eq!(old.services.shared_with(&new.services), (1, 2));
    let old = new;

    let target = json!({ "id": id(5, 1), "created_at": 1.0, "updated_at": 1.0, "upstream": { "id": id(4, 0) },
        "target": "127.0.0.1:80", "weight": 100, "tags": null });
    let target: Arc<Target> = Arc::new(serde_json::from_value(target).unwrap());
    from.targets.insert(target.id, target.clone());
    let new = builder.change(&[Touched::Targets(None, Some(target))], &from).0;
    assert!(Arc::ptr_eq(&old.router, &new.router));
    assert_eq!(old.services.shared_with(&new.services), (1, 2));
    let old = new;

    let mut add = |plugin: Arc<Plugin>| {
        from.plugins.insert(plugin.id, plugin.clone());
        builder.change(&[Touched::Plugins(None, Some(plugin))], &from).0
    };
    let new = add(plugin(1, Some(id(1, 9)), None));
    assert!(Arc::ptr_eq(&old.services, &new.services));
    assert_eq!(new.router.copied_routes(&old.router), 0, "the route itself is the same");
    let old = new;
    let new = add(plugin(2, None, Some(id(2, 4))));
    assert!(Arc::ptr_eq(&old.router, &new.router));
    assert_eq!(old.services.shared_with(&new.services), (1, 2));
    let old = new;
    // Everywhere: in the plans of the one route and the one service that have their own.
    let new = add(plugin(3, None, None));
    assert_eq!(new.router.copied_routes(&old.router), 0);
    assert_eq!(old.services.shared_with(&new.services), (1, 2));
    assert_eq!((old.global.len(), new.global.len()), (0, 1));
}

#[test]
fn services_that_come_and_go_leave_nothing_behind() {
    let mut from = configuration();
    let mut builder = Builder::new(environment());
    builder.build(&from, true);
    for number in 100..200 {
        let (new, on_it) = (service(number, "127.0.0.2"), route(number, "/new/", Some(id(2, number))));
        from.services.insert(new.id, new.clone());
        let before = from.routes.insert(on_it.id, on_it.clone());
        let added = [Touched::Services(None, Some(new.clone())), Touched::Routes(before.clone(), Some(on_it.clone()))];
        let snapshot = builder.change(&added, &from).0;
        let endpoint = snapshot.router.find(&query("/new/")).unwrap().route;
        assert_eq!(snapshot.routed(endpoint).service.map(|target| target.service.id), Some(new.id));
        from.services.remove(&new.id);
        from.routes.insert(on_it.id, before.clone().unwrap());
        let removed = [Touched::Routes(Some(on_it), before), Touched::Services(Some(new), None)];
        let snapshot = builder.change(&removed, &from).0;
        assert_eq!((snapshot.services.len(), snapshot.services.shared_with(&snapshot.services)), (20, (2, 2)));
    }
}

#[test]
fn services_share_what_they_have_in_common() {
    let mut from = configuration();
    let other = Service { read_timeout: Some(1), ..(*service(3, "127.0.0.2")).clone() };
    from.services.insert(other.id, Arc::new(other));
    let snapshot = Builder::new(environment()).build(&from, true).0;
    let target = |path: &str| snapshot.routed(snapshot.router.find(&query(path)).unwrap().route).service.unwrap();
    let [one, two, other] = ["/r100/", "/r200/", "/r300/"].map(target);
    assert!(Arc::ptr_eq(&one.host, &two.host) && Arc::ptr_eq(&one.terms, &two.terms));
    assert!(one.host != other.host && one.terms != other.terms);
}

/// Each byte more is one more a route; each line more of the processor's caches one more to wait for.
#[test]
fn what_a_request_reads_of_its_route_and_service_is_small() {
    assert_eq!((size_of::<Endpoint>(), size_of::<ServiceEntry>()), (24, 128));
}

#[test]
fn upstreams_go_by_the_names_they_have_now() {
    use pdk::Upstreams;
    let mut from = configuration();
    let mut builder = Builder::new(environment());
    let old = builder.build(&from, true).0;
    assert_eq!(["balanced", "other"].map(|name| old.upstreams.is_healthy(name)), [Some(false), None], "no targets");

    let target = json!({ "id": id(5, 1), "created_at": 1.0, "updated_at": 1.0, "upstream": { "id": id(4, 0) },
        "target": "127.0.0.1:80", "weight": 100, "tags": null });
    let target: Arc<Target> = Arc::new(serde_json::from_value(target).unwrap());
    from.targets.insert(target.id, target.clone());
    let with_target = builder.change(&[Touched::Targets(None, Some(target))], &from).0;
    assert_eq!(with_target.upstreams.is_healthy("balanced"), Some(true));
    let peer = with_target.upstreams.peer("balanced").flatten().unwrap();
    assert_eq!((peer.address.to_string(), &*peer.host), ("127.0.0.1:80".to_owned(), "127.0.0.1"));

    let renamed = Upstream { id: id(4, 0), name: "other".into(), ..Upstream::default() };
    let renamed = Arc::new(Upstream { host_header: Some("own.test".into()), ..renamed });
    let before = from.upstreams.insert(renamed.id, renamed.clone());
    let new = builder.change(&[Touched::Upstreams(before, Some(renamed.clone()))], &from).0;
    assert_eq!(["balanced", "other"].map(|name| new.upstreams.is_healthy(name)), [None, Some(true)]);
    assert_eq!(&*new.upstreams.peer("other").flatten().unwrap().host, "own.test");
    assert_eq!(with_target.upstreams.is_healthy("balanced"), Some(true), "a request goes on with what it began with");

    from.upstreams.remove(&renamed.id);
    let gone = builder.change(&[Touched::Upstreams(Some(renamed), None)], &from).0;
    assert_eq!(["balanced", "other"].map(|name| gone.upstreams.is_healthy(name)), [None, None]);
}

#[test]
fn an_unchanged_plugin_keeps_its_instance() {
    let mut from = configuration();
    from.plugins.insert(id(3, 1), plugin(1, None, None));
    let mut builder = Builder::new(environment());
    let instance = |snapshot: &super::Snapshot| Arc::as_ptr(&snapshot.global.fixed().unwrap()[0].plugin);
    let first = builder.build(&from, true).0;
    assert_eq!(instance(&builder.build(&from, true).0), instance(&first));
    assert_ne!(instance(&builder.build(&from, false).0), instance(&first));
}

#[test]
fn a_snapshot_of_the_past_ends_where_it_is_swept_and_not_with_its_last_request() {
    let mut builder = Builder::new(environment());
    let handle = SnapshotHandle::new(builder.snapshot());
    let held = handle.load();
    handle.swap(builder.build(&configuration(), true).0);
    assert_eq!(handle.sweep(), 1, "a request has it");
    let weak = Arc::downgrade(&held);
    drop(held);
    assert!(weak.upgrade().is_some(), "it ended with its request");
    assert_eq!(handle.sweep(), 0);
    assert!(weak.upgrade().is_none());
}
