//! What `GET /upstreams/:u/health` says of a balancer, in Kong's shape.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::address::{Member, Resolution, ResolvedTarget};
use crate::balancer::Balancer;

/// Kong's JSON encoder writes an empty list as an object.
fn list(values: Vec<Value>) -> Value {
    if values.is_empty() { Value::Object(Map::new()) } else { Value::Array(values) }
}

/// The members `health` and `data` that the report adds to a target's entity; `None` = the target is not in the balancer.
pub fn target_health(balancer: &Balancer, target: Uuid) -> Option<Map<String, Value>> {
    let (target, members) = balancer.targets().find(|(resolved, _)| resolved.id == target)?;
    let mut health = "DNS_ERROR";
    let mut addresses = Vec::with_capacity(members.len());
    for member in members {
        let of_address = address_health(balancer, member);
        // One healthy address makes the target healthy.
        if health != "HEALTHY" {
            health = of_address;
        }
        addresses.push(json!({
            "ip": member.address.text.as_ref(),
            "port": member.address.port,
            "weight": member.address.weight,
            "health": of_address,
        }));
    }
    let mut report = Map::new();
    report.insert("health".to_owned(), health.into());
    report.insert("data".to_owned(), host(balancer, target, members, addresses));
    Some(report)
}

/// `data` of the report with `balancer_health=1`.
pub fn balancer_health(balancer: &Balancer) -> Value {
    let is_healthy = balancer.is_healthy();
    let status = if is_healthy { "HEALTHY" } else { "UNHEALTHY" };
    let hosts = balancer
        .targets()
        .map(|(target, members)| {
            let addresses = members
                .iter()
                .map(|member| {
                    json!({
                        "ip": member.address.text.as_ref(),
                        "port": member.address.port,
                        "weight": member.address.weight,
                        "healthy": balancer.members().is_healthy(member),
                    })
                })
                .collect();
            host(balancer, target, members, addresses)
        })
        .collect();
    json!({
        "id": balancer.settings().id,
        "health": if balancer.settings().checks.is_some() { status } else { "HEALTHCHECKS_OFF" },
        "balancer_health": status,
        "details": {
            "healthy": is_healthy,
            "weight": weight(balancer, &balancer.members().list),
            "hosts": list(hosts),
        },
    })
}

/// The health of one address as Kong names it.
pub fn address_health(balancer: &Balancer, member: &Member) -> &'static str {
    if balancer.settings().checks.is_none() || member.address.weight == 0 {
        "HEALTHCHECKS_OFF"
    } else if member.state.health.is_healthy() {
        "HEALTHY"
    } else {
        "UNHEALTHY"
    }
}

fn host(balancer: &Balancer, target: &ResolvedTarget, members: &[Member], addresses: Vec<Value>) -> Value {
    let dns = match &target.resolution {
        Resolution::Records { dns, .. } => dns,
        Resolution::Failed(error) => error.as_ref(),
    };
    json!({
        "host": target.host.as_ref(),
        "port": target.port,
        "dns": dns,
        "nodeWeight": target.weight,
        "weight": weight(balancer, members),
        "addresses": list(addresses),
    })
}

fn weight(balancer: &Balancer, members: &[Member]) -> Value {
    let total: u64 = members.iter().map(|member| u64::from(member.address.weight)).sum();
    let available: u64 = members
        .iter()
        .filter(|member| balancer.members().may_serve(member))
        .map(|member| u64::from(member.address.weight))
        .sum();
    json!({ "total": total, "available": available, "unavailable": total - available })
}
