//! `/debug/*/log-level`: the level of the error log, for a while or for good.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::listing::lua_number;
use crate::{Api, Response};
use serde_json::Value;
use std::time::Duration;

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];
const DEFAULT_TIMEOUT: f64 = 60.0;
const LONGEST_TIMEOUT: f64 = 1e9;

pub(super) fn add(routes: &mut Routes, is_control_plane: bool) {
    routes.on("GET", "/debug/node/log-level", |api, _| {
        Ok(Response::message(200, &format!("log level: {}", api.node.log_level())))
    });
    routes.on("PUT", "/debug/node/log-level/:log_level", set);
    let cluster = if is_control_plane { "cluster/control-planes-nodes" } else { "cluster" };
    routes.on("PUT", &format!("/debug/{cluster}/log-level/:log_level"), set);
}

fn set(api: &Api, call: &Call<'_>) -> Outcome {
    if !api.store.is_writable() {
        return Ok(Response::message(405, "cannot change log level when not using a database"));
    }
    let level = call.parameter(0)?;
    if !LEVELS.contains(&level.as_str()) {
        return Ok(Response::message(400, &format!("unknown log level: {level}")));
    }
    let timeout = timeout(call)?;
    if api.node.log_level() == level {
        return Ok(Response::message(200, &format!("log level is already {level}")));
    }
    api.node.set_log_level(&level, (timeout > 0.0).then(|| Duration::from_secs_f64(timeout)));
    Ok(Response::message(200, "log level changed"))
}

fn timeout(call: &Call<'_>) -> Outcome<f64> {
    let body = Body::of(call)?.untyped()?;
    let given = match (call.argument("timeout"), body.get("timeout")) {
        (Some(text), _) => lua_number(&text.unwrap_or_default()),
        (None, Some(Value::String(text))) => lua_number(text),
        (None, Some(Value::Number(number))) => number.as_f64(),
        (None, _) => None,
    };
    // As in Kong, what is no number counts as none.
    let timeout = given.unwrap_or(DEFAULT_TIMEOUT).ceil();
    if timeout >= 0.0 {
        return Ok(timeout.min(LONGEST_TIMEOUT));
    }
    Err(Failure::message(400, "timeout must be greater than or equal to 0"))
}
