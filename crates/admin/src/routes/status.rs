//! `/status`: connections, memory, and whether the store answers.
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::listing::lua_number;
use crate::{Api, Response};
use serde_json::{Map, Value, json};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/status", status);
    routes.on("GET", "/status/dns", |api, _| dns(api));
}

fn status(api: &Api, call: &Call<'_>) -> Outcome {
    let scale = Scale::of(call)?;
    let status = api.node.status();
    let vms: Vec<Value> = status
        .memory
        .iter()
        .map(|used| json!({ "http_allocated_gc": scale.shown(used.bytes), "pid": used.pid }))
        .collect();
    let mut body = json!({
        "memory": { "workers_lua_vms": vms, "lua_shared_dicts": Map::new() },
        "server": {
            "connections_active": status.connections_active,
            "connections_reading": status.connections_reading,
            "connections_writing": status.connections_writing,
            "connections_waiting": status.connections_waiting,
            "connections_accepted": status.connections_accepted,
            "connections_handled": status.connections_handled,
            "total_requests": status.total_requests,
        },
    });
    if api.store.is_writable() {
        body["database"] = json!({ "reachable": api.store.is_reachable() });
    } else {
        body["configuration_hash"] = Value::from(api.declared().hash.clone());
    }
    Ok(Response::json(200, &body))
}

/// In which unit, and with how many digits after the point, memory is told.
struct Scale {
    unit: Option<(&'static str, f64)>,
    digits: usize,
}

impl Scale {
    fn of(call: &Call<'_>) -> Outcome<Scale> {
        const MOST_DIGITS: f64 = 20.0;
        let unit = call.argument("unit").flatten().unwrap_or_else(|| "m".to_owned());
        let unit = match unit.to_ascii_lowercase().as_str() {
            "b" => None,
            "k" => Some(("KiB", 1024.0)),
            "m" => Some(("MiB", 1024.0 * 1024.0)),
            "g" => Some(("GiB", 1024.0 * 1024.0 * 1024.0)),
            _ => {
                return Err(Failure::message(400, &format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')")));
            }
        };
        let digits = call.argument("scale").flatten().and_then(|scale| lua_number(&scale)).unwrap_or(2.0);
        if digits < 0.0 {
            return Err(Failure::message(400, "scale must be equal or greater than 0"));
        }
        Ok(Scale { unit, digits: digits.min(MOST_DIGITS) as usize })
    }

    fn shown(&self, bytes: u64) -> Value {
        match self.unit {
            None => Value::from(bytes),
            Some((name, size)) => Value::from(format!("{:.*} {name}", self.digits, bytes as f64 / size)),
        }
    }
}

fn dns(api: &Api) -> Outcome {
    if !api.settings.new_dns_client {
        return Ok(Response::message(501, "not implemented with the legacy DNS client"));
    }
    Ok(Response::json(200, &json!({ "worker": { "id": 0, "count": 1 }, "stats": api.node.dns() })))
}
