//! What Kong's database enforces, over any backend's rows: keys, references, cascades, expiry.
use crate::rows::{Row, Rows, Scan, TagScan};
use crate::{
    Along, Change, Error, Index, Layout, OnDelete, Page, Part, Query, Reader, Table, TagsPage, Ttl, Writer, offset,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A transaction (or, of its reading half, a look) over some backend's rows.
pub(crate) struct Rules<'a, R> {
    pub(crate) rows: R,
    pub(crate) layout: &'a Layout,
    pub(crate) now: f64,
    /// Whether rows that can expire show `ttl` when they do not, as they do in Kong with a database.
    pub(crate) shows_ttl: bool,
    pub(crate) changes: Vec<Change>,
    /// Whether anybody will hear of the changes; commands that write millions of rows tell nobody.
    pub(crate) is_heard: bool,
}

/// How deep rows may go with the rows they reference; the entities' own references reach four.
const DEEPEST_CASCADE: usize = 16;
const CASCADE_BATCH: usize = 1000;

impl<'a, R: Rows> Rules<'a, R> {
    pub(crate) fn new(rows: R, layout: &'a Layout, now: f64) -> Self {
        Rules { rows, layout, now, shows_ttl: true, changes: Vec::new(), is_heard: true }
    }

    fn table(&self, entity: &str) -> Result<&'a Table, Error> {
        self.layout.table(entity).ok_or_else(|| Error::database(&format!("no table for '{entity}'")))
    }

    fn live(&self, row: Option<Row>) -> Option<Row> {
        row.filter(|row| !row.is_expired(self.now))
    }

    /// The row as it is answered with.
    pub(crate) fn shown(&self, table: &Table, row: Row) -> Value {
        let mut value = row.value;
        if table.has_ttl
            && let Some(fields) = value.as_object_mut()
        {
            match row.expires {
                Some(at) => fields.insert("ttl".to_owned(), json!((at - self.now).floor() as i64)),
                None if self.shows_ttl => fields.insert("ttl".to_owned(), Value::Null),
                None => None,
            };
        }
        value
    }

    fn changed(&mut self, table: &Table, key: &str, value: Option<Value>) {
        if table.has_uuid
            && self.is_heard
            && let Ok(id) = Uuid::parse_str(key)
        {
            self.changes.push(Change { entity: table.name.clone(), id, value });
        }
    }

    fn check_unique(&mut self, table: &Table, key: &str, row: &Value) -> Result<(), Error> {
        for index in &table.unique {
            let Some(values) = index.values(row) else { continue };
            let Some(other) = self.rows.find(table, index, &values)? else { continue };
            let other_key = key_of(table, &other.value)?.to_owned();
            if other_key == key {
                continue;
            }
            if other.is_expired(self.now) {
                self.remove(table, &other_key, &other, 0, &mut unheard)?;
                continue;
            }
            return Err(Error::unique_violation(&index_fields(index, row)));
        }
        Ok(())
    }

    fn check_references(&self, table: &Table, row: &Value) -> Result<(), Error> {
        for reference in &table.references {
            let Some(foreign) = row.get(&reference.field).filter(|foreign| !foreign.is_null()) else { continue };
            let parents = self.table(&reference.entity)?;
            let id = foreign.get("id").and_then(Value::as_str).unwrap_or_default();
            if self.live(self.rows.get(parents, id)?).is_none() {
                let key = json!({ "id": id });
                return Err(Error::foreign_key_violation_invalid_reference(&reference.field, &key, &reference.entity));
            }
        }
        Ok(())
    }

    fn put(&mut self, table: &Table, row: Value, ttl: Ttl, old: Option<&Row>) -> Result<Value, Error> {
        let row = normal(table, row);
        let key = key_of(table, &row)?.to_owned();
        self.check_unique(table, &key, &row)?;
        self.check_references(table, &row)?;
        let expires = match ttl {
            Ttl::Keep => old.and_then(|old| old.expires),
            Ttl::Set(seconds) => (seconds > 0.0).then_some(self.now + seconds),
        };
        let row = Row { value: row, expires };
        self.rows.put(table, &key, row.clone(), old)?;
        let value = self.shown(table, row);
        if self.is_heard {
            self.changed(table, &key, Some(value.clone()));
        }
        Ok(value)
    }

    /// Removes a row; what goes or changes with it is told to `also`.
    fn remove(&mut self, table: &Table, key: &str, row: &Row, depth: usize, also: &mut Along<'_>) -> Result<(), Error> {
        if depth > DEEPEST_CASCADE {
            return Err(Error::database(&format!("deleting a row of '{}' goes in circles", table.name)));
        }
        let layout = self.layout;
        for (child, reference) in layout.referencing(&table.name) {
            if reference.on_delete == OnDelete::Restrict && !self.children(child, &reference.field, key, 1)?.is_empty()
            {
                return Err(Error::foreign_key_violation_restricted(&table.name, &child.name));
            }
        }
        for (child, reference) in layout.referencing(&table.name) {
            if reference.on_delete == OnDelete::Restrict {
                continue;
            }
            loop {
                let children = self.children(child, &reference.field, key, CASCADE_BATCH)?;
                if children.is_empty() {
                    break;
                }
                for row in children {
                    let child_key = key_of(child, &row.value)?.to_owned();
                    if reference.on_delete == OnDelete::Cascade {
                        also(&child.name, &row.value, None);
                        self.remove(child, &child_key, &row, depth + 1, also)?;
                    } else {
                        let mut changed = row.clone();
                        changed.value[&reference.field] = Value::Null;
                        also(&child.name, &row.value, Some(&changed.value));
                        self.rows.put(child, &child_key, changed.clone(), Some(&row))?;
                        self.changed(child, &child_key, Some(changed.value));
                    }
                }
            }
        }
        self.rows.remove(table, key, row)?;
        self.changed(table, key, None);
        Ok(())
    }

    /// Rows that reference a key, the expired ones too.
    fn children(&self, table: &Table, field: &str, key: &str, limit: usize) -> Result<Vec<Row>, Error> {
        let foreign = Some((field, key));
        self.rows.scan(table, &Scan { after: None, limit, foreign, tags: None, now: f64::NEG_INFINITY })
    }

    /// Deletes expired rows, at most `limit` of each entity.
    pub(crate) fn purge(&mut self, limit: usize) -> Result<usize, Error> {
        let mut purged = 0;
        let layout = self.layout;
        for table in layout.tables().iter().filter(|table| table.has_ttl) {
            for key in self.rows.expired(table, self.now, limit)? {
                if let Some(row) = self.rows.get(table, &key)? {
                    self.remove(table, &key, &row, 0, &mut unheard)?;
                    purged += 1;
                }
            }
        }
        Ok(purged)
    }
}

impl<R: Rows> Reader for Rules<'_, R> {
    fn select(&self, entity: &str, key: &str) -> Result<Option<Value>, Error> {
        let table = self.table(entity)?;
        let key = if table.has_uuid { &key.to_ascii_lowercase() } else { key };
        Ok(self.live(self.rows.get(table, key)?).map(|row| self.shown(table, row)))
    }

    fn select_by(&self, entity: &str, index: &str, values: &[&str]) -> Result<Option<Value>, Error> {
        let table = self.table(entity)?;
        let Some(index) = table.index(index).filter(|index| index.parts.len() == values.len()) else {
            return Err(Error::database(&format!("'{entity}' has no index '{index}' of {} values", values.len())));
        };
        Ok(self.live(self.rows.find(table, index, values)?).map(|row| self.shown(table, row)))
    }

    fn page(&self, entity: &str, query: &Query<'_>) -> Result<Page, Error> {
        let table = self.table(entity)?;
        let after = match query.offset.map(offset::decode).transpose()? {
            None => None,
            Some(parts) => match parts.as_ref().and_then(|parts| parts.first()).and_then(Value::as_str) {
                Some(key) => Some(key.to_owned()),
                None => return Ok(Page::default()),
            },
        };
        let tags = query.tags.as_ref();
        let scan = Scan { after: after.as_deref(), limit: query.size + 1, foreign: query.foreign, tags, now: self.now };
        let mut rows = self.rows.scan(table, &scan)?;
        let has_more = rows.len() > query.size;
        rows.truncate(query.size);
        let offset = match rows.last().filter(|_| has_more) {
            Some(last) => Some(offset::encode(&[Value::from(key_of(table, &last.value)?)])),
            None => None,
        };
        Ok(Page { rows: rows.into_iter().map(|row| self.shown(table, row)).collect(), offset })
    }

    fn each(&self, entity: &str, visit: &mut dyn FnMut(Value)) -> Result<(), Error> {
        let table = self.table(entity)?;
        self.rows.each(table, self.now, &mut |row| visit(self.shown(table, row)))
    }

    fn tags(&self, tag: Option<&str>, size: usize, offset: Option<&str>) -> Result<TagsPage, Error> {
        let after = match offset.map(offset::decode).transpose()? {
            None => None,
            Some(parts) => match parts.as_deref() {
                Some([Value::String(id), Value::String(entity), Value::Number(position)]) => {
                    Some((id.clone(), entity.clone(), position.as_i64().unwrap_or_default()))
                }
                _ => return Ok(TagsPage::default()),
            },
        };
        let after = after.as_ref().map(|(id, entity, position)| (id.as_str(), entity.as_str(), *position));
        let mut tags = self.rows.tagged(&TagScan { tag, after, limit: size + 1 })?;
        let has_more = tags.len() > size;
        tags.truncate(size);
        let offset = tags
            .last()
            .filter(|_| has_more)
            .map(|last| offset::encode(&[last.id.as_str().into(), last.entity.as_str().into(), last.position.into()]));
        Ok(TagsPage { tags, offset })
    }
}

impl<R: Rows> Writer for Rules<'_, R> {
    fn insert(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error> {
        let table = self.table(entity)?;
        let row = normal(table, row);
        let key = key_of(table, &row)?.to_owned();
        self.rows.prepare(table, &key, &row)?;
        if let Some(old) = self.rows.get(table, &key)? {
            if !old.is_expired(self.now) {
                // Kong looks for the names of unique fields in PostgreSQL's text, which says "duplicate key".
                if let Some(index) = table.index("key") {
                    return Err(Error::unique_violation(&index_fields(index, &row)));
                }
                return Err(Error::primary_key_violation(&json!({ &table.key: key })));
            }
            self.remove(table, &key, &old, 0, &mut unheard)?;
        }
        self.put(table, row, ttl, None)
    }

    fn update(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error> {
        let table = self.table(entity)?;
        let row = normal(table, row);
        let key = key_of(table, &row)?.to_owned();
        self.rows.prepare(table, &key, &row)?;
        let Some(old) = self.live(self.rows.get(table, &key)?) else {
            return Err(Error::not_found(&json!({ &table.key: key })));
        };
        self.put(table, row, ttl, Some(&old))
    }

    fn upsert(&mut self, entity: &str, row: Value, ttl: Ttl) -> Result<Value, Error> {
        let table = self.table(entity)?;
        let row = normal(table, row);
        let key = key_of(table, &row)?.to_owned();
        self.rows.prepare(table, &key, &row)?;
        let old = self.rows.get(table, &key)?;
        let ttl = if ttl == Ttl::Keep { Ttl::Set(0.0) } else { ttl };
        self.put(table, row, ttl, old.as_ref())
    }

    fn delete_along(&mut self, entity: &str, key: &str, also: &mut Along<'_>) -> Result<bool, Error> {
        let table = self.table(entity)?;
        let key = if table.has_uuid { &key.to_ascii_lowercase() } else { key };
        let Some(row) = self.rows.get(table, key)? else { return Ok(false) };
        let was_live = !row.is_expired(self.now);
        self.remove(table, key, &row, 0, also)?;
        Ok(was_live)
    }

    fn reader(&self) -> &dyn Reader {
        self
    }
}

/// For rows that go of themselves.
fn unheard(_: &str, _: &Value, _: Option<&Value>) {}

pub(crate) fn key_of<'a>(table: &Table, row: &'a Value) -> Result<&'a str, Error> {
    let key = row.get(&table.key).and_then(Value::as_str);
    key.ok_or_else(|| Error::database(&format!("a row of '{}' has no '{}'", table.name, table.key)))
}

/// Ids in lower case, as PostgreSQL keeps them, and without the shown `ttl`.
pub(crate) fn normal(table: &Table, mut row: Value) -> Value {
    let lower = |value: Option<&mut Value>| {
        if let Some(Value::String(id)) = value {
            id.make_ascii_lowercase();
        }
    };
    if table.has_uuid {
        lower(row.get_mut(&table.key));
    }
    for reference in &table.references {
        lower(row.get_mut(&reference.field).and_then(|foreign| foreign.get_mut("id")));
    }
    if table.has_ttl
        && let Some(fields) = row.as_object_mut()
    {
        fields.shift_remove("ttl");
    }
    row
}

/// The index's fields of a row, as a violation shows them.
pub(crate) fn index_fields(index: &Index, row: &Value) -> Value {
    let field = |part: &Part| {
        let value = row.get(&part.field).cloned().unwrap_or(Value::Null);
        (!part.hidden || !value.is_null()).then(|| (part.field.clone(), value))
    };
    Value::Object(index.parts.iter().filter_map(field).collect::<Map<_, _>>())
}
