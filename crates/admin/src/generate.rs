//! The endpoints of every entity of the catalog, in both directions of its foreign fields.
use crate::Api;
use crate::crud::{self, Relation};
use crate::dispatch::{Call, Routes};
use crate::failure::Outcome;
use crate::openapi::Shape;
use entities::Catalog;
use schema::{EntitySchema, Flag};

/// The name of the entity's collection in paths.
pub(crate) fn collection(schema: &EntitySchema) -> &str {
    schema.admin_api_name.as_deref().unwrap_or(&schema.name)
}

fn nested(schema: &EntitySchema) -> &str {
    schema.admin_api_nested_name.as_deref().unwrap_or_else(|| collection(schema))
}

pub(crate) fn add(routes: &mut Routes, catalog: &Catalog) {
    for schema in catalog.entities().filter(|schema| schema.generate_admin_api) {
        add_entity(routes, schema);
        for (field, parent) in schema.foreign_fields() {
            let is_hidden = schema.field(field).is_some_and(|field| field.is(Flag::Hidden));
            let Some(parent) = catalog.entity(parent).filter(|_| !is_hidden) else { continue };
            add_relation(routes, schema, field, parent);
        }
    }
}

/// The collection of an entity, and its members.
pub(crate) fn add_entity(routes: &mut Routes, schema: &EntitySchema) {
    let name = &schema.name;
    let path = format!("/{}", collection(schema));
    shape(routes, &path, name, true, None);
    on_entity(routes, "GET", &path, name, crud::list);
    on_entity(routes, "POST", &path, name, crud::create);
    let path = format!("{path}/:{name}");
    shape(routes, &path, name, false, None);
    on_entity(routes, "GET", &path, name, crud::get);
    on_entity(routes, "PUT", &path, name, crud::put);
    on_entity(routes, "PATCH", &path, name, crud::patch);
    on_entity(routes, "DELETE", &path, name, crud::remove);
}

/// From a child to its parent, and the children nested in the parent.
pub(crate) fn add_relation(routes: &mut Routes, child: &EntitySchema, field: &str, parent: &EntitySchema) {
    let relation = Relation { child: child.name.clone(), field: field.to_owned(), parent: parent.name.clone() };
    let path = format!("/{}/:{}/{field}", collection(child), child.name);
    shape(routes, &path, &parent.name, false, Some(&child.name));
    on_relation(routes, "GET", &path, &relation, crud::get_parent);
    on_relation(routes, "PUT", &path, &relation, crud::put_parent);
    on_relation(routes, "PATCH", &path, &relation, crud::patch_parent);
    on_relation(routes, "DELETE", &path, &relation, crud::remove_parent);
    let path = format!("/{}/:{}/{}", collection(parent), parent.name, nested(child));
    shape(routes, &path, &child.name, true, Some(&parent.name));
    on_relation(routes, "GET", &path, &relation, crud::list_nested);
    on_relation(routes, "POST", &path, &relation, crud::create_nested);
    let path = format!("{path}/:{}", child.name);
    shape(routes, &path, &child.name, false, Some(&parent.name));
    on_relation(routes, "GET", &path, &relation, crud::get_nested);
    on_relation(routes, "PUT", &path, &relation, crud::put_nested);
    on_relation(routes, "PATCH", &path, &relation, crud::patch_nested);
    on_relation(routes, "DELETE", &path, &relation, crud::remove_nested);
}

fn shape(routes: &mut Routes, path: &str, entity: &str, is_collection: bool, within: Option<&str>) {
    let shape = Shape { entity: entity.to_owned(), is_collection, within: within.map(str::to_owned) };
    routes.at(path).shape = Some(shape);
}

fn on_entity(
    routes: &mut Routes,
    method: &'static str,
    path: &str,
    entity: &str,
    handler: fn(&Api, &Call<'_>, &str) -> Outcome,
) {
    let entity = entity.to_owned();
    routes.on(method, path, move |api, call| handler(api, call, &entity));
}

fn on_relation(
    routes: &mut Routes,
    method: &'static str,
    path: &str,
    relation: &Relation,
    handler: fn(&Api, &Call<'_>, &Relation) -> Outcome,
) {
    let relation = relation.clone();
    routes.on(method, path, move |api, call| handler(api, call, &relation));
}
