//! What one call writes, as it is noted on the way.
use super::mask::masked;
use crate::keys::id_of;
use schema::EntitySchema;
use serde_json::{Value, json};
use std::cell::RefCell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Update,
    Delete,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A call that writes more rows has its first ones in the log, and the number of all.
const MOST_CHANGES: usize = 1000;

struct Change {
    action: Action,
    entity: String,
    id: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// The changes of a call, secrets masked.
#[derive(Default)]
pub(crate) struct Notes {
    changes: RefCell<Vec<Change>>,
    left_out: RefCell<usize>,
}

impl Notes {
    pub(crate) fn add(&self, action: Action, schema: &EntitySchema, before: Option<&Value>, after: Option<&Value>) {
        let mut changes = self.changes.borrow_mut();
        if changes.len() == MOST_CHANGES {
            *self.left_out.borrow_mut() += 1;
            return;
        }
        changes.push(Change {
            action,
            entity: schema.name.clone(),
            id: after.or(before).map(id_of).unwrap_or_default().to_owned(),
            before: before.map(|row| masked(schema, row)),
            after: after.map(|row| masked(schema, row)),
        });
    }

    pub(super) fn changes(&self, with_rows: bool) -> Vec<Value> {
        let changes = self.changes.borrow();
        let shown = changes.iter().map(|change| {
            let mut shown = json!({ "action": change.action.name(), "entity": change.entity, "id": change.id });
            if with_rows {
                shown["before"] = change.before.clone().unwrap_or_default();
                shown["after"] = change.after.clone().unwrap_or_default();
            }
            shown
        });
        let mut shown: Vec<Value> = shown.collect();
        let left_out = *self.left_out.borrow();
        if left_out > 0 {
            shown.push(json!({ "left_out": left_out }));
        }
        shown
    }
}
