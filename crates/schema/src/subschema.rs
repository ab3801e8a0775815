//! What a plugin, a vault or a family of protocols adds to an entity's schema.

use std::sync::Arc;

use crate::field::Kind;
use crate::{Check, Field, RecordSchema, typedefs};

/// Fields that replace the entity's when the entity's subschema key has this name, and further checks.
#[derive(Clone, Debug, Default)]
pub struct Subschema {
    pub name: String,
    pub record: RecordSchema,
}

#[expect(clippy::return_self_not_must_use, reason = "a builder: every result is used")]
impl Subschema {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), record: RecordSchema::default() }
    }

    /// A plugin's subschema with any of the http and stream protocols, until [`Self::protocols_http`] narrows it.
    pub fn plugin(name: &str, config: &Arc<RecordSchema>) -> Self {
        Self::new(name).protocols_all().config(config)
    }

    pub fn field(mut self, name: &str, field: Field) -> Self {
        self.record = self.record.field(name, field);
        self
    }

    /// The plugin's configuration, from [`crate::Record::record`].
    pub fn config(self, record: &Arc<RecordSchema>) -> Self {
        self.field("config", Field::record(Arc::clone(record)))
    }

    /// The same with another schema of the configuration.
    pub fn map_config(self, edit: impl FnOnce(RecordSchema) -> RecordSchema) -> Self {
        let Some(field) = self.record.get("config").cloned() else { return self };
        let Kind::Record(record) = &field.kind else { return self };
        let record = edit((**record).clone());
        self.config(&Arc::new(record))
    }

    pub fn no_consumer(self) -> Self {
        self.scoped("consumer", typedefs::no_consumer())
    }

    pub fn no_service(self) -> Self {
        self.scoped("service", typedefs::no_service())
    }

    pub fn no_route(self) -> Self {
        self.scoped("route", typedefs::no_route())
    }

    pub fn protocols_http(self) -> Self {
        self.scoped("protocols", typedefs::protocols_http())
    }

    pub fn protocols_all(self) -> Self {
        self.scoped("protocols", typedefs::protocols())
    }

    pub fn check(mut self, check: Check) -> Self {
        self.record = self.record.check(check);
        self
    }

    /// Scope fields stand before the protocols, and these before `config`, as `/schemas` shows them.
    fn scoped(mut self, name: &str, field: Field) -> Self {
        const ORDER: [&str; 5] = ["consumer", "service", "route", "protocols", "config"];
        let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        let mut fields = std::mem::take(&mut self.record.fields);
        fields.retain(|(known, _)| known != name);
        let at = fields.iter().position(|(known, _)| rank(known) > rank(name)).unwrap_or(fields.len());
        fields.insert(at, (name.to_owned(), field));
        self.record = self.record.with_fields(fields);
        self
    }
}
