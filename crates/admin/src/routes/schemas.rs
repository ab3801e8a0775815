//! `/schemas`: the schemas as data, and validation without writing.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::failure::{Failure, Outcome};
use crate::{Api, Response};
use schema::EntitySchema;

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/schemas/:name", |api, call| Ok(Response::json(200, &known(api, call)?.to_json())));
    routes.on("POST", "/schemas/:db_entity_name/validate", |api, call| validate(api, call, known(api, call)?));
    for kind in ["plugins", "vaults"] {
        routes
            .on("POST", &format!("/schemas/{kind}/validate"), move |api, call| validate(api, call, api.schema(kind)?));
    }
    routes.on("GET", "/schemas/plugins/:name", plugin);
    routes.on("GET", "/schemas/vaults/:name", vault);
    routes.on("GET", "/schemas/filters/:name", |_, call| {
        Ok(Response::message(404, &format!("Filter '{}' not found", call.parameter(0)?)))
    });
}

fn known<'a>(api: &'a Api, call: &Call<'_>) -> Outcome<&'a EntitySchema> {
    let name = call.parameter(0)?;
    api.catalog
        .described(&name)
        .map(std::sync::Arc::as_ref)
        .ok_or_else(|| Failure::message(404, &format!("No entity named '{name}'")))
}

fn validate(api: &Api, call: &Call<'_>, schema: &EntitySchema) -> Outcome {
    let input = Body::of(call)?.untyped()?;
    api.with_context(|cx| schema.validate(input, cx))?;
    Ok(Response::message(200, "schema validation successful"))
}

fn plugin(api: &Api, call: &Call<'_>) -> Outcome {
    let name = call.parameter(0)?;
    Ok(match api.catalog.plugin(&name) {
        Some(plugin) => Response::json(200, &plugin.schema.to_json()),
        None => Response::message(404, &format!("No plugin named '{name}'")),
    })
}

fn vault(api: &Api, call: &Call<'_>) -> Outcome {
    let name = call.parameter(0)?;
    Ok(match api.catalog.vault(&name) {
        Some(vault) => Response::json(200, &vault.to_json()),
        None => Response::message(404, &format!("No vault named '{name}'")),
    })
}
