//! `/clustering/*`: the data planes of a control plane.
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::keys::id_of;
use crate::special::every;
use crate::{Api, Response, crud};
use serde_json::{Map, Value, json};

const ENTITY: &str = "clustering_data_planes";

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/clustering/data-planes", |api, call| {
        check_role(api)?;
        crud::list(api, call, ENTITY)
    });
    routes.on("GET", "/clustering/status", status);
}

fn check_role(api: &Api) -> Outcome<()> {
    if api.settings.role_control_plane {
        return Ok(());
    }
    let message = "this endpoint is only available when Kong is configured to run as Control Plane for the cluster";
    Err(Failure::message(400, message))
}

fn status(api: &Api, call: &Call<'_>) -> Outcome {
    check_role(api)?;
    let mut body = Map::new();
    api.reading(call, |reader| {
        every(reader, ENTITY, None, |plane| {
            let field = |name: &str| plane.get(name).cloned().unwrap_or(Value::Null);
            let shown = json!({
                "config_hash": field("config_hash"), "hostname": field("hostname"), "ip": field("ip"), "last_seen": field("last_seen"),
            });
            body.insert(id_of(&plane).to_owned(), shown);
            Ok(())
        })
    })?;
    Ok(Response::json(200, &Value::Object(body)).with("Deprecation", "true"))
}
