//! The part of the configuration that a user sees: what has one of their tags, and what belongs to such a row.
use crate::keys::foreign_id;
use entities::Catalog;
use schema::{EntitySchema, Error};
use serde_json::{Value, json};
use std::fmt;
use store::{Along, Page, Query, Reader, TagsPage, Ttl, Writer};

/// Tags, one of which a row must have.
#[derive(Debug)]
pub(crate) struct Scope {
    tags: Vec<String>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tags.join(", "))
    }
}

impl Scope {
    pub(crate) fn new<'t>(tags: impl Iterator<Item = &'t str>) -> Scope {
        Scope { tags: tags.map(str::to_owned).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    fn names(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| known == tag)
    }

    /// Whether a row is in the scope: by its own tags, or because all that it cannot be without is (a target's upstream, a
    /// credential's consumer).
    pub(crate) fn has(
        &self,
        catalog: &Catalog,
        reader: &dyn Reader,
        schema: &EntitySchema,
        row: &Value,
    ) -> Result<bool, Error> {
        let tags = row.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if tags.iter().filter_map(Value::as_str).any(|tag| self.names(tag)) {
            return Ok(true);
        }
        let mut belongs = false;
        let required = |field: &str| schema.field(field).is_some_and(schema::Field::is_required);
        for (field, parent) in schema.foreign_fields().filter(|(field, _)| required(field)) {
            let (Some(id), Some(parent_schema)) = (foreign_id(row, field), catalog.entity(parent)) else {
                return Ok(false);
            };
            let Some(parent_row) = reader.select(parent, id)? else { return Ok(false) };
            if !self.has(catalog, reader, parent_schema, &parent_row)? {
                return Ok(false);
            }
            belongs = true;
        }
        Ok(belongs)
    }
}

/// A reader or writer that shows only what is in a scope: to its user, the rest is not there.
pub(crate) struct Scoped<'a, R> {
    inner: R,
    scope: &'a Scope,
    catalog: &'a Catalog,
}

impl<'a, R> Scoped<'a, R> {
    pub(crate) fn new(inner: R, scope: &'a Scope, catalog: &'a Catalog) -> Self {
        Scoped { inner, scope, catalog }
    }

    fn sees(&self, entity: &str, row: &Value, reader: &dyn Reader) -> Result<bool, Error> {
        let Some(schema) = self.catalog.entity(entity) else { return Ok(false) };
        self.scope.has(self.catalog, reader, schema, row)
    }

    fn seen(&self, entity: &str, row: Option<Value>, reader: &dyn Reader) -> Result<Option<Value>, Error> {
        match row {
            Some(row) if self.sees(entity, &row, reader)? => Ok(Some(row)),
            _ => Ok(None),
        }
    }

    fn page_seen(&self, entity: &str, mut page: Page, reader: &dyn Reader) -> Result<Page, Error> {
        let mut rows = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            if self.sees(entity, &row, reader)? {
                rows.push(row);
            }
        }
        page.rows = rows;
        Ok(page)
    }

    fn tags_seen(&self, mut page: TagsPage) -> TagsPage {
        page.tags.retain(|tagged| self.scope.names(&tagged.tag));
        page
    }
}

impl Reader for Scoped<'_, &(dyn Reader + '_)> {
    fn select(&self, entity: &str, key: &str) -> Result<Option<Value>, Error> {
        self.seen(entity, self.inner.select(entity, key)?, self.inner)
    }

    fn select_by(&self, entity: &str, index: &str, values: &[&str]) -> Result<Option<Value>, Error> {
        self.seen(entity, self.inner.select_by(entity, index, values)?, self.inner)
    }

    fn page(&self, entity: &str, query: &Query<'_>) -> Result<Page, Error> {
        self.page_seen(entity, self.inner.page(entity, query)?, self.inner)
    }

    fn tags(&self, tag: Option<&str>, size: usize, offset: Option<&str>) -> Result<TagsPage, Error> {
        Ok(self.tags_seen(self.inner.tags(tag, size, offset)?))
    }
}

impl Reader for Scoped<'_, &mut (dyn Writer + '_)> {
    fn select(&self, entity: &str, key: &str) -> Result<Option<Value>, Error> {
        self.seen(entity, self.inner.select(entity, key)?, self.inner.reader())
    }

    fn select_by(&self, entity: &str, index: &str, values: &[&str]) -> Result<Option<Value>, Error> {
        self.seen(entity, self.inner.select_by(entity, index, values)?, self.inner.reader())
    }

    fn page(&self, entity: &str, query: &Query<'_>) -> Result<Page, Error> {
        self.page_seen(entity, self.inner.page(entity, query)?, self.inner.reader())
    }

    fn tags(&self, tag: Option<&str>, size: usize, offset: Option<&str>) -> Result<TagsPage, Error> {
        Ok(self.tags_seen(self.inner.tags(tag, size, offset)?))
    }
}

impl Writer for Scoped<'_, &mut (dyn Writer + '_)> {
    fn insert(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error> {
        self.inner.insert(entity, row, ttl)
    }

    fn update(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error> {
        self.inner.update(entity, row, ttl)
    }

    /// An id that is taken outside of the scope is refused, never overwritten.
    fn upsert(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error> {
        let id = crate::keys::id_of(&row).to_owned();
        let existing = self.inner.select(entity, &id)?;
        if let Some(existing) = existing
            && !self.sees(entity, &existing, self.inner.reader())?
        {
            return Err(Error::primary_key_violation(&json!({ "id": id })));
        }
        self.inner.upsert(entity, row, ttl)
    }

    fn delete_along(&mut self, entity: &str, key: &str, also: &mut Along<'_>) -> Result<bool, Error> {
        self.inner.delete_along(entity, key, also)
    }

    fn reader(&self) -> &dyn Reader {
        self
    }
}
