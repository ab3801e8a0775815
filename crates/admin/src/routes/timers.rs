//! `/timers`: the node's timers, in the shape of Kong's timer library.
use crate::Response;
use crate::dispatch::Routes;
use serde_json::json;

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/timers", |api, _| {
        let (running, pending) = api.node.timers();
        let workers = api.node.pids().workers.len();
        let sys =
            json!({ "total": running + pending, "runs": 0, "running": running, "pending": pending, "waiting": 0 });
        let flamegraph = json!({ "running": "", "pending": "", "elapsed_time": "" });
        let stats = json!({ "sys": sys, "timers": {}, "flamegraph": flamegraph });
        Ok(Response::json(200, &json!({ "worker": { "id": 0, "count": workers }, "stats": stats })))
    });
}
