//! `/tags`: which entities bear which tags. Read only.
use crate::body::Body;
use crate::dispatch::{Call, Routes};
use crate::failure::Outcome;
use crate::listing::{self, Paging, Repeats};
use crate::{Api, special};
use schema::Error;
use serde_json::{Value, json};

pub(super) fn add(routes: &mut Routes) {
    routes.on("GET", "/tags", |api, call| list(api, call, None));
    routes.on("GET", "/tags/:tags", |api, call| {
        let tag = call.parameter(0)?;
        list(api, call, Some(&tag))
    });
    routes.on("POST", "/tags", refuse);
    for method in ["PUT", "PATCH", "DELETE"] {
        routes.on(method, "/tags/:tags", refuse);
    }
}

fn list(api: &Api, call: &Call<'_>, tag: Option<&str>) -> Outcome {
    if let Some(tag) = tag {
        let schema = api.schema("tags")?;
        api.with_context(|cx| schema.validate_unique("tag", &Value::from(tag), cx))?;
    }
    let paging = Paging::of(call)?;
    let page = api.reading(call, |reader| Ok(reader.tags(tag, paging.size, paging.offset.as_deref())?))?;
    let shown =
        |tagged: store::Tagged| json!({ "entity_name": tagged.entity, "entity_id": tagged.id, "tag": tagged.tag });
    let data = page.tags.into_iter().map(shown).collect();
    let path = call.request.path.trim_end_matches('/');
    Ok(listing::respond(call, path, data, page.offset, Repeats::TagsAndSize))
}

fn refuse(api: &Api, call: &Call<'_>) -> Outcome {
    let schema = api.schema("tags")?;
    let mut input = Body::of(call)?.untyped()?;
    api.reading(call, |reader| special::before_insert(api, reader, schema, &mut input))?;
    Err(Error::operation_unsupported("tags are written with their entities").into())
}
