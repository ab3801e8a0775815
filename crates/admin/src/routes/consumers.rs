//! `/consumers?custom_id=`: the consumer of another system's id.
use crate::dispatch::{Call, Routes};
use crate::entity::shown;
use crate::failure::{Failure, Outcome};
use crate::{Api, Response, crud};
use serde_json::{Value, json};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/consumers", list);
}

fn list(api: &Api, call: &Call<'_>) -> Outcome {
    let Some(first) = call.argument("custom_id") else { return crud::list(api, call, "consumers") };
    let custom_id = first.filter(|id| !id.is_empty() && call.values("custom_id").count() == 1);
    let custom_id = custom_id.ok_or_else(|| Failure::message(400, "custom_id must be an unempty string"))?;
    let schema = api.schema("consumers")?;
    let found = api.reading(call, |reader| {
        let row = reader.select_by("consumers", "custom_id", &[&custom_id])?;
        row.map(|row| shown(reader, schema, row)).transpose()
    })?;
    Ok(Response::json(200, &json!({ "data": Vec::from_iter(found), "next": Value::Null })))
}
