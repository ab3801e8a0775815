//! `/upstreams/:upstreams/health`: what the node knows of an upstream's targets, or of its balancer as a whole. With
//! `details=1` it tells more than Kong does: the reason and the time of an address's last change, and what there is beyond Kong.
use super::targets::newest;
use crate::dispatch::{Call, Routes};
use crate::failure::Outcome;
use crate::keys::id_of;
use crate::listing::{self, Repeats};
use crate::{AddressHealth, Api, HostHealth, Response, UpstreamHealth};
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/upstreams/:upstreams/health", health);
}

fn health(api: &Api, call: &Call<'_>) -> Outcome {
    let is_on = |argument: &str| call.argument(argument).flatten().as_deref() == Some("1");
    let (has_details, is_of_balancer) = (is_on("details"), is_on("balancer_health"));
    let (upstream, (targets, offset)) = api.reading(call, |reader| {
        let upstream = api.named(reader, call, 0, "upstreams")?;
        let targets = if is_of_balancer { (Vec::new(), None) } else { newest(api, reader, call, &upstream)? };
        Ok((upstream, targets))
    })?;
    let health = Uuid::parse_str(id_of(&upstream)).ok().and_then(|id| api.node.health(id));
    let mut body = if is_of_balancer {
        let mut body = json!({ "next": null });
        if let Some(health) = &health {
            body["data"] = balancer(&upstream, health, has_details);
        }
        body
    } else {
        let data = targets.into_iter().map(|row| target(row, health.as_ref(), has_details)).collect();
        listing::page(call, call.request.path.trim_end_matches('/'), data, offset, Repeats::Nothing)
    };
    body["node_id"] = json!(api.node.node_id());
    Ok(Response::json(200, &body))
}

/// A target's row with its health and what the balancer made of it.
fn target(mut row: Value, health: Option<&UpstreamHealth>, has_details: bool) -> Value {
    let Some(health) = health else { return row };
    let name = row.get("target").and_then(Value::as_str).unwrap_or_default();
    let Some(host) = health.hosts.iter().find(|host| host.target == name) else {
        // Weight zero keeps a target out of the balancer.
        let is_idle = row.get("weight").and_then(Value::as_u64) == Some(0);
        row["health"] = Value::from(if is_idle || !health.checked { "HEALTHCHECKS_OFF" } else { "DNS_ERROR" });
        return row;
    };
    let state = if host.node_weight == 0 {
        "HEALTHCHECKS_OFF"
    } else if host.addresses.is_empty() {
        "DNS_ERROR"
    } else if !health.checked {
        "HEALTHCHECKS_OFF"
    } else if host.addresses.iter().any(|address| address.healthy) {
        "HEALTHY"
    } else {
        "UNHEALTHY"
    };
    row["health"] = Value::from(state);
    row["data"] = described(host, has_details, |address| {
        let state = if !health.checked || address.weight == 0 {
            "HEALTHCHECKS_OFF"
        } else if address.healthy {
            "HEALTHY"
        } else {
            "UNHEALTHY"
        };
        ("health", Value::from(state))
    });
    row
}

fn balancer(upstream: &Value, health: &UpstreamHealth, has_details: bool) -> Value {
    let word = |healthy: bool| if healthy { "HEALTHY" } else { "UNHEALTHY" };
    let state = |address: &AddressHealth| ("healthy", Value::from(address.healthy));
    let hosts = health.hosts.iter().map(|host| described(host, has_details, state));
    let overall = if health.checked || health.hosts.is_empty() { word(health.healthy) } else { "HEALTHCHECKS_OFF" };
    let mut shown = json!({
        "id": id_of(upstream),
        "health": overall,
        "balancer_health": word(health.healthy),
        "details": {
            "healthy": health.healthy,
            "weight": weight(health.hosts.iter()),
            "hosts": list(hosts.collect()),
        },
    });
    if has_details {
        if let Some(circuit) = &health.circuit {
            shown["circuit_breaker"] = json!({ "state": circuit.state });
            if let Some((active, pending, refused)) = circuit.requests {
                shown["circuit_breaker"]["requests"] =
                    json!({ "active": active, "pending": pending, "refused": refused });
            }
        }
        if let Some(retries) = health.retries {
            shown["retries"] = json!({ "made": retries.made, "refused": retries.refused });
        }
    }
    shown
}

/// An empty Lua table is written as an object.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Object(Map::new()) } else { Value::Array(items) }
}

fn weight<'a>(hosts: impl Iterator<Item = &'a HostHealth>) -> Value {
    let (mut total, mut available) = (0_u64, 0_u64);
    for address in hosts.flat_map(|host| &host.addresses) {
        total += u64::from(address.weight);
        available += if address.healthy { u64::from(address.weight) } else { 0 };
    }
    json!({ "total": total, "available": available, "unavailable": total - available })
}

fn described(host: &HostHealth, has_details: bool, state: impl Fn(&AddressHealth) -> (&'static str, Value)) -> Value {
    let address = |address: &AddressHealth| {
        let (name, state) = state(address);
        let mut shown = json!({ "ip": address.ip, "port": address.port, "weight": address.weight, name: state });
        if has_details {
            add_details(&mut shown, address);
        }
        shown
    };
    let mut shown = json!({
        "host": host.host,
        "port": host.port,
        "dns": host.dns,
        "nodeWeight": host.node_weight,
        "weight": weight(std::iter::once(host)),
        "addresses": list(host.addresses.iter().map(address).collect()),
    });
    if has_details {
        shown["failover"] = host.is_failover.into();
        shown["locality"] = host.locality.clone().into();
    }
    shown
}

fn add_details(shown: &mut Value, address: &AddressHealth) {
    shown["last_change"] =
        address.last_change.as_ref().map_or(Value::Null, |(at, reason)| json!({ "at": at, "reason": reason }));
    shown["rests_for"] = address.rest.into();
    shown["share"] = address.share.into();
}
