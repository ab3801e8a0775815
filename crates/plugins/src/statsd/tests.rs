//! Tests of `statsd`.

use super::*;
use pdk::testing::{Harness, complete};
use std::net::UdpSocket;
use std::sync::Mutex;
use std::time::Duration;

/// All instances of a harness have the same id, so that they share a queue.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const NODE: &str = "node_test";

/// The lines that a request with this config sends.
fn lines(config: Value, prepare: impl FnOnce(Harness) -> Harness) -> Vec<String> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut config = config;
    config["host"] = "127.0.0.1".into();
    config["port"] = sink.local_addr().unwrap().port().into();
    config["udp_packet_size"] = 60000.into();
    let h = prepare(Harness::of(vec![
        (&crate::key_auth::DEFINITION, json!({ "anonymous": schema::Uuid::from_u128(2).to_string() })),
        (&DEFINITION, config),
    ]));
    h.send("GET /a\napikey: k");
    let mut room = vec![0; 65536];
    let length = sink.recv(&mut room).unwrap();
    String::from_utf8_lossy(&room[..length]).lines().map(without_free_space).collect()
}

/// Other tests of the process fill its memory.
fn without_free_space(line: &str) -> String {
    let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.contains("free_space")) else {
        return line.to_owned();
    };
    let (bytes, rest) = value.split_once('|').unwrap();
    assert!((1..=134_217_728).contains(&bytes.parse::<u64>().unwrap()), "{line}");
    format!("{name}:FREE|{rest}")
}

/// A harness whose consumer has a key.
fn with_consumer(h: Harness) -> Harness {
    let consumer = json!({ "id": schema::Uuid::from_u128(1), "username": "al.ice", "custom_id": "c\n1" });
    let key = json!({ "id": schema::Uuid::from_u128(3), "consumer": { "id": schema::Uuid::from_u128(1) }, "key": "k" });
    h.with("consumers", consumer).with("keyauth_credentials", key).with_consumer(2, "nobody")
}

fn counters(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "name": name, "stat_type": "counter", "sample_rate": 1 })).collect()
}

#[test]
fn names_say_service_status_and_consumer() {
    let names = [
        "request_count",
        "status_count",
        "unique_users",
        "request_per_user",
        "status_count_per_user",
        "status_count_per_workspace",
        "status_count_per_user_per_route",
        "upstream_latency",
        "shdict_usage",
    ];
    let route = schema::Uuid::from_u128(0xa);
    assert_eq!(
        lines(json!({ "metrics": counters(&names), "workspace_identifier_default": "workspace_name" }), with_consumer),
        [
            "kong.service.s.request.count:1|c",
            "kong.service.s.status.200:1|c",
            "kong.service.s.user.uniques:c_1|s",
            "kong.service.s.user.c_1.request.count:1|c",
            "kong.service.s.user.c_1.status.200:1|c",
            "kong.service.s.workspace.default.status.200:1|c",
            &format!("kong.route.{route}.user.c_1.status.200:1|c"),
            "kong.service.s.upstream_latency:0|c",
            "kong.node.node_test.shdict.kong_db_cache.free_space:FREE|g",
            "kong.node.node_test.shdict.kong_db_cache.capacity:134217728|g",
        ]
    );
}

#[test]
fn the_nodes_memory_is_told_once_a_minute_in_each_style() {
    let sizes = |free: &str, capacity: &str| vec![format!("{free}:FREE|g"), format!("{capacity}:134217728|g")];
    let named = |before: &str| sizes(&format!("{before}.free_space"), &format!("{before}.capacity"));
    let tagged =
        |after: &str| sizes(&format!("kong.shdict.free_space{after}"), &format!("kong.shdict.capacity{after}"));
    let dogs = tagged("").into_iter().map(|line| line + "|#node:node_test,shdict:kong_db_cache").collect();
    for (config, want) in [
        (json!({}), named("kong.node.node_test.shdict.kong_db_cache")),
        (json!({ "hostname_in_prefix": true }), named("kong.node.node_test.shdict.kong_db_cache")),
        (json!({ "tag_style": "influxdb" }), tagged(",node=node_test,shdict=kong_db_cache")),
        (json!({ "tag_style": "librato" }), tagged("#node=node_test,shdict=kong_db_cache")),
        (json!({ "tag_style": "signalfx" }), tagged("[node=node_test,shdict=kong_db_cache]")),
        (json!({ "tag_style": "dogstatsd" }), dogs),
    ] {
        let mut config = config;
        // Whatever kind is asked for.
        config["metrics"] = json!([{ "name": "shdict_usage", "sample_rate": 1, "stat_type": "counter" }]);
        assert_eq!(lines(config.clone(), |h| h), want, "{config}");
    }
    let h = Harness::new(&DEFINITION, json!({ "host": "127.0.0.1", "port": 9 }));
    let entity = pdk::testing::plugin_entity("statsd", &complete(&DEFINITION, json!({})).unwrap());
    let config = entity.config.clone();
    let statsd = Statsd {
        config: serde_json::from_value(config).unwrap(),
        ranges: None,
        queue: queue::named(
            "statsd:of a clock",
            "",
            Parameters::default(),
            Arc::new(Collector::new("", 9, Transport::Tcp)),
        ),
        has_memory: true,
        told_memory: AtomicU64::new(0),
    };
    let told: Vec<bool> = [0, 1, 59, 1, 1, 60, 1]
        .map(|seconds| {
            h.clock().advance(Duration::from_secs(seconds));
            statsd.tells_memory(&h.context("GET /"))
        })
        .into();
    assert_eq!(told, [true, false, false, true, false, true, false]);
}

#[test]
fn names_of_consumers_and_services_stay_within_their_metric() {
    let forged = "a:1|c\nkong.forged:1|c,b=c#d[e]";
    let consumer = json!({ "id": schema::Uuid::from_u128(1), "username": "x", "custom_id": forged });
    let key = json!({ "id": schema::Uuid::from_u128(3), "consumer": { "id": schema::Uuid::from_u128(1) }, "key": "k" });
    let prepare = |h: Harness| {
        let h =
            h.with("consumers", consumer.clone()).with("keyauth_credentials", key.clone()).with_consumer(2, "nobody");
        h.with_service_name("s:2|c\nx")
    };
    let metrics = counters(&["request_per_user"]);
    let mended = "a_1_c_kong.forged_1_c_b_c_d_e_";
    let want = format!("kong.service.s_2_c_x.user.{mended}.request.count:1|c");
    assert_eq!(lines(json!({ "metrics": metrics }), prepare), [want]);
    for style in ["dogstatsd", "influxdb", "librato", "signalfx"] {
        let config = json!({ "metrics": counters(&["request_count"]), "tag_style": style });
        let lines = lines(config, prepare);
        let equals = if style == "dogstatsd" { ':' } else { '=' };
        let tags = [format!("service{equals}s_2_c_x,"), format!("consumer{equals}{mended},")];
        assert!(lines.len() == 1 && tags.iter().all(|tag| lines[0].contains(tag)), "{style}: {lines:?}");
    }
}

#[test]
fn identifiers_prefix_rate_and_kinds_are_configurable() {
    let metrics = json!([
        { "name": "request_count", "stat_type": "gauge", "sample_rate": 0.5, "service_identifier": "service_host" },
        { "name": "latency", "stat_type": "timer", "service_identifier": "service_id" },
        { "name": "status_count_per_user", "stat_type": "set", "consumer_identifier": "username" },
    ]);
    let config = json!({ "metrics": metrics, "prefix": "p", "hostname_in_prefix": true });
    let id = schema::Uuid::from_u128(0xb);
    assert_eq!(
        lines(config, |h| with_consumer(h).with_service_name("s.x")),
        [
            format!("p.node.{NODE}.service.up_test.request.count:1|g|@0.5"),
            format!("p.node.{NODE}.service.{id}.latency:0|ms"),
            format!("p.node.{NODE}.service.s_x.user.al.ice.status.200:1|c"),
        ]
    );
}

#[test]
fn the_id_of_a_consumer_is_told_as_it_is() {
    let metrics = json!([{ "name": "status_count_per_user", "stat_type": "counter", "sample_rate": 1, "consumer_identifier": "consumer_id" }]);
    let id = schema::Uuid::from_u128(1);
    let lines = lines(json!({ "metrics": metrics }), with_consumer);
    assert!(lines.iter().any(|line| line.contains(&format!(".user.{id}.status.200:1|c"))), "{lines:?}");
}

#[test]
fn tags_are_written_in_each_style() {
    let tags = |equals: &str| {
        let tags = [
            ("service", "s"),
            ("route", "r"),
            ("workspace", "default"),
            ("consumer", "c_1"),
            ("node", NODE),
            ("status", "200"),
        ];
        tags.map(|(tag, value)| format!("{tag}{equals}{value}")).join(",")
    };
    let styles = [
        ("dogstatsd", format!("kong.request.count:1|c|#{}", tags(":"))),
        ("influxdb", format!("kong.request.count,{}:1|c", tags("="))),
        ("librato", format!("kong.request.count#{}:1|c", tags("="))),
        ("signalfx", format!("kong.request.count[{}]:1|c", tags("="))),
    ];
    for (style, want) in styles {
        let config = json!({ "metrics": counters(&["request_count", "status_count", "unique_users"]), "tag_style": style,
            "workspace_identifier_default": "workspace_name", "hostname_in_prefix": true });
        assert_eq!(lines(config, with_consumer), [want], "{style}");
    }
}

#[test]
fn requests_without_service_are_unmatched() {
    let names = counters(&["request_count", "upstream_latency", "status_count_per_user_per_route"]);
    let unmatched = |h: Harness| h.without_route();
    assert_eq!(lines(json!({ "metrics": names }), unmatched), ["kong.global.unmatched.request.count:1|c"]);
    let tagged = json!({ "metrics": names, "tag_style": "librato" });
    assert_eq!(lines(tagged, unmatched), ["kong.request.count:1|c"]);
}

#[test]
fn ranges_of_statuses_are_read() {
    for (text, want) in
        [("200-299", Some((200, 299))), ("5-99999", Some((5, u16::MAX))), ("99999-9", None), ("x", None)]
    {
        assert_eq!(range(text), want, "{text}");
    }
}

#[test]
fn counters_and_gauges_need_a_rate() {
    for (kind, is_valid) in [("counter", false), ("gauge", false), ("timer", true), ("distribution", false)] {
        let config = json!({ "metrics": [{ "name": "latency", "stat_type": kind }] });
        assert_eq!(complete(&DEFINITION, config).is_ok(), is_valid, "{kind}");
    }
}
