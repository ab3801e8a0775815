//! rate-limiting-advanced across nodes, and for consumer groups.

use crate::client::get;
use crate::gateway::{Gateway, eventually};
use crate::rate_limiting::{holds_the_bound, round};
use crate::redis::Redis;
use crate::redis_servers::passed;
use crate::upstream::Upstream;

/// A window in which no test sees an end.
const YEAR: u32 = 31_536_000;

fn kong_yml(upstream: &Upstream, redis: &Redis, config: &str) -> String {
    let redis = format!("redis: {{ host: 127.0.0.1, port: {} }}", redis.at.port());
    let config = format!("strategy: redis, identifier: ip, namespace: n, {redis}, {config}");
    upstream.kong_yml(&["{ name: r, paths: [/] }"])
        + &format!("plugins:\n  - {{ name: rate-limiting-advanced, config: {{ {config} }} }}\n")
}

#[test]
fn two_nodes_let_exactly_the_limit_through_in_each_kind_of_window() {
    let upstream = Upstream::start();
    for kind in ["fixed", "sliding", "token-bucket"] {
        let redis = Redis::start();
        let config = format!("window_size: [{YEAR}, {}], limit: [50, 60], window_type: {kind}, sync_rate: 0", 2 * YEAR);
        let kong_yml = kong_yml(&upstream, &redis, &config);
        let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
        assert_eq!(passed(&nodes.each_ref().map(|node| node.ports.proxy), 160), 50, "{kind}");
        assert_eq!(redis.ask(&["DBSIZE"]), "2", "{kind}");
    }
}

#[test]
fn a_leaky_bucket_of_all_nodes_spaces_their_requests() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let config = "window_size: [1], limit: [20], window_type: leaky-bucket, max_delay: 60, sync_rate: 0";
    let kong_yml = kong_yml(&upstream, &redis, config);
    let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
    let start = std::time::Instant::now();
    assert_eq!(passed(&nodes.each_ref().map(|node| node.ports.proxy), 40), 40);
    // The first goes at once, each other one a twentieth of a second after the one before.
    assert!(start.elapsed() >= std::time::Duration::from_millis(39 * 50 - 10), "{:?}", start.elapsed());
}

#[test]
fn nodes_that_sync_know_of_each_others_requests_after_a_sync() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    for kind in ["fixed", "sliding"] {
        let config = format!("window_size: [{YEAR}], limit: [30], window_type: {kind}, sync_rate: 0.05");
        let kong_yml = kong_yml(&upstream, &redis, &(config + ", disable_penalty: true"));
        let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
        for _ in 0..30 {
            assert_eq!(get(nodes[0].ports.proxy, "/", &[]).status, 200, "{kind}");
        }
        eventually("the other node knows", || get(nodes[1].ports.proxy, "/", &[]).status == 429);
        redis.ask(&["FLUSHALL"]);
    }
}

#[test]
fn between_two_syncs_each_node_lets_at_most_the_limit_through() {
    let upstream = Upstream::start();
    for kind in ["fixed", "sliding"] {
        let redis = Redis::start();
        let config = format!("window_size: [{YEAR}], limit: [20], window_type: {kind}, sync_rate: 3600");
        let kong_yml = kong_yml(&upstream, &redis, &config);
        let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
        for node in &nodes {
            assert_eq!(passed(&[node.ports.proxy], 80), 20, "{kind}");
        }
    }
}

#[test]
fn nodes_that_sync_let_through_no_more_than_the_stated_bound_and_agree_in_the_end() {
    let upstream = Upstream::start();
    for (kind, rate) in [("fixed", 0.1), ("fixed", 0.5), ("sliding", 0.1)] {
        let redis = Redis::start();
        let config = format!("window_size: [{YEAR}], limit: [33], window_type: {kind}, sync_rate: {rate}");
        let kong_yml = kong_yml(&upstream, &redis, &(config + ", disable_penalty: true"));
        let nodes = [Gateway::start(&kong_yml), Gateway::start(&kong_yml)];
        let at = nodes.each_ref().map(|node| node.ports.proxy);
        // A sliding window asks for the one before, too, where nothing was counted.
        let count = || {
            let keys = redis.ask(&["KEYS", "ratelimit-advanced:*"]);
            keys.lines().filter_map(|key| redis.ask(&["GET", key]).parse::<usize>().ok()).sum()
        };
        holds_the_bound(33, 5, || round(&at, 5), count);
    }
}

#[test]
fn a_dead_redis_leaves_each_node_its_own_counts() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let config = format!("window_size: [{YEAR}], limit: [3], window_type: fixed, sync_rate: 0");
    let gateway = Gateway::start(&kong_yml(&upstream, &redis, &config));
    let send = || get(gateway.ports.proxy, "/", &[]).status;
    assert_eq!(send(), 200);
    redis.kill();
    assert_eq!([(); 4].map(|()| send()), [200, 200, 200, 429]);
    redis.begin();
    eventually("redis counts again", || send() == 200);
}

#[test]
fn an_instance_that_enforces_consumer_groups_has_the_limits_of_its_clients_groups() {
    let upstream = Upstream::start();
    let limits = |limit: u32| format!("window_size: [{YEAR}], limit: [{limit}], window_type: fixed");
    let consumer = |name: &str| format!("  - {{ username: {name}, keyauth_credentials: [{{ key: {name} }}] }}\n");
    let member = |name: &str, group: &str| format!("  - {{ consumer: {name}, consumer_group: {group} }}\n");
    let own = |group: &str, limit: u32| {
        let config = limits(limit);
        format!("  - {{ consumer_group: {group}, name: rate-limiting-advanced, config: {{ {config} }} }}\n")
    };
    let kong_yml = |enforced: &str| {
        upstream.kong_yml(&["{ name: r, paths: [/] }"])
            + "plugins:\n  - { name: key-auth }\n"
            + &format!("  - {{ name: rate-limiting-advanced, config: {{ {}, {enforced} }} }}\n", limits(1))
            + "consumer_groups:\n  - { name: gold }\n  - { name: silver }\n"
            + &format!("consumer_group_plugins:\n{}{}", own("gold", 3), own("silver", 2))
            + &format!("consumers:\n{}{}{}", consumer("first"), consumer("second"), consumer("third"))
            + &format!("consumer_group_consumers:\n{}{}", member("first", "gold"), member("first", "silver"))
            + &member("second", "silver")
    };
    for (enforced, want) in [
        ("enforce_consumer_groups: true, consumer_groups: [gold, silver]", [3, 2, 1]),
        ("enforce_consumer_groups: true, consumer_groups: [silver, gold]", [2, 2, 1]),
        ("enforce_consumer_groups: true, consumer_groups: [gold]", [3, 1, 1]),
        ("enforce_consumer_groups: false, consumer_groups: [gold, silver]", [1, 1, 1]),
    ] {
        let gateway = Gateway::start(&kong_yml(enforced));
        let passed = ["first", "second", "third"].map(|key| {
            let statuses = [(); 4].map(|()| get(gateway.ports.proxy, "/", &[&format!("apikey: {key}")]).status);
            statuses.iter().filter(|status| **status == 200).count()
        });
        assert_eq!(passed, want, "{enforced}");
    }
}

#[test]
fn consumer_groups_have_limits_of_their_own() {
    let upstream = Upstream::start();
    let limits = |limit: u32| {
        format!(
            "name: rate-limiting-advanced, config: {{ window_size: [{YEAR}], limit: [{limit}], window_type: fixed }}"
        )
    };
    let consumer = |name: &str| format!("  - {{ username: {name}, keyauth_credentials: [{{ key: {name} }}] }}\n");
    let kong_yml = upstream.kong_yml(&["{ name: r, paths: [/] }"])
        + &format!("plugins:\n  - {{ name: key-auth }}\n  - {{ {} }}\n", limits(1))
        + &format!("consumer_groups:\n  - {{ name: gold, plugins: [{{ {} }}] }}\n", limits(3))
        + &format!("consumers:\n{}{}", consumer("member"), consumer("other"))
        + "consumer_group_consumers:\n  - { consumer: member, consumer_group: gold }\n";
    let gateway = Gateway::start(&kong_yml);
    for (key, want) in [("member", [200, 200, 200, 429]), ("other", [200, 429, 429, 429])] {
        let statuses = [(); 4].map(|()| get(gateway.ports.proxy, "/", &[&format!("apikey: {key}")]).status);
        assert_eq!(statuses, want, "{key}");
    }
}
