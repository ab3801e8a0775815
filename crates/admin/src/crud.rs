//! The endpoints that every entity has, as its schema makes them: the collection, its members, their parents, and the
//! collections nested in the parents.
use crate::body::Body;
use crate::dispatch::Call;
use crate::entity::{delete, insert, shown, shown_plainly, update, upsert};
use crate::failure::{Failure, Outcome};
use crate::keys::{Key, foreign_id, id_of};
use crate::listing::{self, Paging, Repeats};
use crate::{Api, Response};
use schema::EntitySchema;
use serde_json::{Value, json};
use store::{Query, Reader};
use uuid::Uuid;

/// A foreign field of a child, and whose key it holds.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) child: String,
    pub(crate) field: String,
    pub(crate) parent: String,
}

impl Api {
    /// The row that a parameter of the path names; without it, 404.
    pub(crate) fn named(&self, reader: &dyn Reader, call: &Call<'_>, place: usize, entity: &str) -> Outcome<Value> {
        let key = Key::of(self, self.schema(entity)?, call, place)?;
        key.find(reader, entity)?.ok_or_else(Failure::not_found)
    }
}

fn ok(row: &Value) -> Response {
    Response::json(200, row)
}

fn no_content() -> Response {
    Response::empty(204)
}

/// The subschema's key of a stored row, for forms that need not repeat it.
pub(crate) fn subschema<'a>(schema: &EntitySchema, row: &'a Value) -> Option<&'a str> {
    row.get(schema.subschema_key.as_ref()?)?.as_str()
}

pub(crate) fn list(api: &Api, call: &Call<'_>, entity: &str) -> Outcome {
    let schema = api.schema(entity)?;
    let paging = Paging::of(call)?;
    let tags = listing::tags(call, schema)?;
    let (data, offset) = api.reading(call, |reader| {
        let query = Query { size: paging.size, offset: paging.offset.as_deref(), foreign: None, tags };
        let page = reader.page(entity, &query)?;
        let data: Outcome<Vec<Value>> = pace::each(page.rows).map(|row| shown(reader, schema, row)).collect();
        Ok((data?, page.offset))
    })?;
    Ok(listing::respond(call, &call.endpoint.path, data, offset, Repeats::TagsAndSize))
}

pub(crate) fn create(api: &Api, call: &Call<'_>, entity: &str) -> Outcome {
    let schema = api.schema(entity)?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer| insert(api, call, writer, schema, input))?;
    Ok(Response::json(201, &row))
}

pub(crate) fn get(api: &Api, call: &Call<'_>, entity: &str) -> Outcome {
    let schema = api.schema(entity)?;
    let row = api.reading(call, |reader| {
        let row = api.named(reader, call, 0, entity)?;
        shown(reader, schema, row)
    })?;
    Ok(ok(&row))
}

pub(crate) fn put(api: &Api, call: &Call<'_>, entity: &str) -> Outcome {
    let schema = api.schema(entity)?;
    let key = Key::of(api, schema, call, 0)?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer| upsert(api, call, writer, schema, &key, input))?;
    Ok(ok(&row))
}

pub(crate) fn patch(api: &Api, call: &Call<'_>, entity: &str) -> Outcome {
    let schema = api.schema(entity)?;
    let key = Key::of(api, schema, call, 0)?;
    patch_by(api, call, schema, &key)
}

/// What a change of a row that is not there is answered with. Kong looks plugins up before, unless the body names one.
fn missing(schema: &EntitySchema, body: &Body, key: &Key) -> Failure {
    let says_kind = body.untyped().is_ok_and(|body| body.get("name").is_some());
    if schema.name == "plugins" && !says_kind { Failure::not_found() } else { key.not_found() }
}

/// Changes what the key names; without it, Kong's error 6.
pub(crate) fn patch_by(api: &Api, call: &Call<'_>, schema: &EntitySchema, key: &Key) -> Outcome {
    let body = Body::of(call)?;
    let row = api.writing(call, |writer| {
        let stored = key.find(writer.reader(), &schema.name)?.ok_or_else(|| missing(schema, &body, key))?;
        let patch = body.entity(schema, subschema(schema, &stored))?;
        update(api, call, writer, schema, key, stored, patch)
    })?;
    Ok(ok(&row))
}

pub(crate) fn remove(api: &Api, call: &Call<'_>, entity: &str) -> Outcome {
    let schema = api.schema(entity)?;
    let key = Key::of(api, schema, call, 0)?;
    remove_by(api, call, schema, &key)
}

/// Deletes what the key names; that there is none is no error.
pub(crate) fn remove_by(api: &Api, call: &Call<'_>, schema: &EntitySchema, key: &Key) -> Outcome {
    api.writing(call, |writer| match key.find(writer.reader(), &schema.name)? {
        Some(row) => delete(api, call, writer, schema, key, &row),
        None => Ok(()),
    })?;
    Ok(no_content())
}

/// The parent of a child: `/routes/:routes/service`.
pub(crate) fn get_parent(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.parent)?;
    let row = api.reading(call, |reader| parent_row(api, reader, call, relation))?;
    // Kong reads the parent past the code that adds what is kept elsewhere: a certificate's SNIs are null here.
    Ok(ok(&shown_plainly(schema, row)))
}

fn parent_row(api: &Api, reader: &dyn Reader, call: &Call<'_>, relation: &Relation) -> Outcome<Value> {
    let child = api.named(reader, call, 0, &relation.child)?;
    let id = foreign_id(&child, &relation.field).ok_or_else(Failure::not_found)?;
    reader.select(&relation.parent, id)?.ok_or_else(Failure::not_found)
}

/// Replaces the parent; where the child has none, makes one and gives it to the child.
pub(crate) fn put_parent(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.parent)?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer| {
        let child = api.named(writer.reader(), call, 0, &relation.child)?;
        if let Some(id) = foreign_id(&child, &relation.field) {
            return upsert(api, call, writer, schema, &Key::Id(id.to_owned()), input);
        }
        let id = Uuid::new_v4().to_string();
        let row = upsert(api, call, writer, schema, &Key::Id(id.clone()), input)?;
        let key = Key::Id(id_of(&child).to_owned());
        let patch = json!({ &relation.field: { "id": id } });
        update(api, call, writer, api.schema(&relation.child)?, &key, child, patch)?;
        Ok(row)
    })?;
    Ok(ok(&row))
}

pub(crate) fn patch_parent(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.parent)?;
    let body = Body::of(call)?;
    let row = api.writing(call, |writer| {
        let stored = parent_row(api, writer.reader(), call, relation)?;
        let patch = body.entity(schema, subschema(schema, &stored))?;
        update(api, call, writer, schema, &Key::Id(id_of(&stored).to_owned()), stored, patch)
    })?;
    Ok(ok(&row))
}

/// A parent is not deleted by way of its child.
pub(crate) fn remove_parent(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    api.reading(call, |reader| parent_row(api, reader, call, relation))?;
    Ok(Response::method_not_allowed())
}

/// The children of a parent: `/services/:services/routes`.
pub(crate) fn list_nested(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let parent = api.reading(call, |reader| api.named(reader, call, 0, &relation.parent))?;
    list_children(api, call, relation, &parent)
}

pub(crate) fn list_children(api: &Api, call: &Call<'_>, relation: &Relation, parent: &Value) -> Outcome {
    let schema = api.schema(&relation.child)?;
    // As in Kong tags are checked, and choose nothing.
    listing::tags(call, schema)?;
    let paging = Paging::of(call)?;
    let (data, offset) = api.reading(call, |reader| {
        let foreign = Some((relation.field.as_str(), id_of(parent)));
        let query = Query { size: paging.size, offset: paging.offset.as_deref(), foreign, tags: None };
        let page = reader.page(&relation.child, &query)?;
        let data: Outcome<Vec<Value>> = pace::each(page.rows).map(|row| shown(reader, schema, row)).collect();
        Ok((data?, page.offset))
    })?;
    let path = call.request.path.trim_end_matches('/');
    Ok(listing::respond(call, path, data, offset, Repeats::Nothing))
}

pub(crate) fn create_nested(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.child)?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer| {
        let parent = api.named(writer.reader(), call, 0, &relation.parent)?;
        insert(api, call, writer, schema, of_parent(input, relation, &parent))
    })?;
    Ok(Response::json(201, &row))
}

/// The body with the parent that the path names, whatever it says itself.
pub(crate) fn of_parent(mut input: Value, relation: &Relation, parent: &Value) -> Value {
    input[&relation.field] = json!({ "id": id_of(parent) });
    input
}

pub(crate) fn belongs(row: &Value, relation: &Relation, parent: &Value) -> bool {
    foreign_id(row, &relation.field) == Some(id_of(parent))
}

/// The child, where it is the parent's.
fn child_row(api: &Api, reader: &dyn Reader, call: &Call<'_>, relation: &Relation) -> Outcome<(Key, Value)> {
    let parent = api.named(reader, call, 0, &relation.parent)?;
    let key = Key::of(api, api.schema(&relation.child)?, call, 1)?;
    let row = key.find(reader, &relation.child)?.filter(|row| belongs(row, relation, &parent));
    Ok((key, row.ok_or_else(Failure::not_found)?))
}

pub(crate) fn get_nested(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.child)?;
    let row = api.reading(call, |reader| {
        let (_, row) = child_row(api, reader, call, relation)?;
        shown(reader, schema, row)
    })?;
    Ok(ok(&row))
}

/// Takes the child over from another parent, if need be.
pub(crate) fn put_nested(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.child)?;
    let input = Body::of(call)?.entity(schema, None)?;
    let row = api.writing(call, |writer| {
        let parent = api.named(writer.reader(), call, 0, &relation.parent)?;
        let key = Key::of(api, schema, call, 1)?;
        upsert(api, call, writer, schema, &key, of_parent(input, relation, &parent))
    })?;
    Ok(ok(&row))
}

pub(crate) fn patch_nested(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.child)?;
    let body = Body::of(call)?;
    let row = api.writing(call, |writer| {
        let (key, stored) = child_row(api, writer.reader(), call, relation)?;
        let mut patch = body.entity(schema, subschema(schema, &stored))?;
        // The path names the parent, so that what is made from both (a password's hash) has both; a body may name another.
        if let Some(fields) = patch.as_object_mut() {
            fields.entry(&relation.field).or_insert_with(|| stored[&relation.field].clone());
        }
        update(api, call, writer, schema, &key, stored, patch)
    })?;
    Ok(ok(&row))
}

pub(crate) fn remove_nested(api: &Api, call: &Call<'_>, relation: &Relation) -> Outcome {
    let schema = api.schema(&relation.child)?;
    api.writing(call, |writer| {
        let (key, row) = child_row(api, writer.reader(), call, relation)?;
        delete(api, call, writer, schema, &key, &row)
    })?;
    Ok(no_content())
}
