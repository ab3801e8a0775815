//! Tests of `datadog`.

use super::*;
use pdk::testing::{Harness, complete, plugin_entity};
use std::net::UdpSocket;
use std::sync::Mutex;
use std::time::Duration;

/// All instances of a harness have the same id, so that they share a queue.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn lines(config: Value, count: usize, prepare: impl FnOnce(Harness) -> Harness) -> Vec<String> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut config = config;
    config["host"] = "127.0.0.1".into();
    config["port"] = sink.local_addr().unwrap().port().into();
    let h = prepare(Harness::of(vec![
        (&crate::key_auth::DEFINITION, json!({ "anonymous": schema::Uuid::from_u128(2).to_string() })),
        (&DEFINITION, config),
    ]));
    h.send("GET /a");
    let mut room = vec![0; 65536];
    let mut receive = || {
        let length = sink.recv(&mut room).unwrap();
        String::from_utf8_lossy(&room[..length]).into_owned()
    };
    (0..count).map(|_| receive()).collect()
}

#[test]
fn tags_say_service_status_consumer_and_more() {
    let metrics = json!([
        { "name": "request_count", "stat_type": "counter", "sample_rate": 0.5, "tags": ["env:test", "a"],
          "consumer_identifier": "username" },
        { "name": "latency", "stat_type": "distribution" },
        { "name": "kong_latency", "stat_type": "histogram", "consumer_identifier": "consumer_id" },
        { "name": "upstream_latency", "stat_type": "meter", "consumer_identifier": "custom_id" },
    ]);
    let config = json!({ "metrics": metrics, "prefix": "p", "service_name_tag": "svc", "consumer_tag": "who" });
    assert_eq!(
        lines(config, 4, |h| h.with_service_name("s.x").with_consumer(2, "bob")),
        [
            "p.request.count:1|c|@0.5|#svc:s_x,status:200,who:bob,env:test,a",
            "p.latency:0|d|#svc:s_x,status:200",
            "p.kong_latency:0|h|#svc:s_x,status:200,who:00000000_0000_0000_0000_000000000002",
            "p.upstream_latency:0|m|#svc:s_x,status:200",
        ]
    );
}

#[test]
fn a_request_without_service_has_an_empty_name() {
    // The anonymous consumer is missing, so that key-auth answers and no upstream is tried.
    let lines = lines(json!({}), 6, Harness::without_route);
    assert_eq!(lines[0], "kong.request.count:1|c|#name:,status:500,app:kong");
    assert_eq!(lines[4], "kong.upstream_latency:-1|ms|#name:,status:500,app:kong");
}

#[test]
fn names_of_consumers_and_services_stay_within_their_tag() {
    let metrics = json!([{ "name": "request_count", "stat_type": "counter", "sample_rate": 1, "tags": ["env:a\nb"],
        "consumer_identifier": "username" }]);
    let lines = lines(json!({ "metrics": metrics }), 1, |h| {
        h.with_service_name("s|x,y").with_consumer(2, "a:1|c\nkong.forged:1|c,admin:yes")
    });
    assert_eq!(
        lines,
        ["kong.request.count:1|c|#name:s_x_y,status:200,consumer:a:1_c_kong.forged:1_c_admin:yes,env:a_b"]
    );
}

#[test]
fn without_an_agent_it_is_not_built() {
    let config = complete(&DEFINITION, json!({ "host": null })).unwrap();
    let entity = plugin_entity("datadog", &config);
    let error = build(&Instance { entity: &entity, config: &config, authorities: &[], groups: &[] }).err().unwrap();
    assert_eq!(error.to_string(), "datadog: neither config.host nor KONG_DATADOG_AGENT_HOST is set");
}

#[test]
fn counters_and_gauges_need_a_rate() {
    for (kind, is_valid) in [("counter", false), ("gauge", false), ("timer", true), ("distribution", true)] {
        let config = json!({ "metrics": [{ "name": "latency", "stat_type": kind }] });
        assert_eq!(complete(&DEFINITION, config).is_ok(), is_valid, "{kind}");
    }
}
