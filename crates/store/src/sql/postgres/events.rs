//! What nodes tell each other of a change: rows of `cluster_events`. Kong's nodes read and write the names of entries of their
//! caches; our own nodes read a channel of their own, which names the rows themselves.
use super::columns::key_text;
use crate::{Change, Layout, Table};
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The channel of our own nodes; also the name of the notifications.
pub(super) const OWN: &str = "silverback";
/// Cache entries that Kong's nodes must forget: those of its core, and those of plugins.
const CORE: &str = "invalidations_kong_core_db_cache";
const OTHER: &str = "invalidations";
const TARGETS: &str = "balancer:targets";
const UPSTREAMS: &str = "balancer:upstreams";
/// Targets that were marked by hand; read by Kong's nodes and ours.
pub(super) const MARKS: &str = "balancer:post_health";

pub(super) const CHANNELS: [&str; 6] = [OWN, CORE, OTHER, TARGETS, UPSTREAMS, MARKS];

/// How many rows one event of our own names.
const NAMED: usize = 2000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Event {
    pub(super) channel: &'static str,
    pub(super) data: String,
}

/// The id of an event of ours: version 8 where Kong's are version 4. By it our nodes tell that an event in Kong's words only
/// repeats what they read in their own.
pub(super) fn own_id() -> Uuid {
    uuid::Builder::from_custom_bytes(*Uuid::new_v4().as_bytes()).into_uuid()
}

pub(super) fn is_own_id(id: &Uuid) -> bool {
    id.get_version_num() == 8
}

/// What our own nodes are told.
pub(super) fn of_changes(changes: &[Change]) -> Vec<Event> {
    let chunks = changes.chunks(NAMED).map(|changes| {
        let rows: Vec<String> = changes.iter().map(|change| format!("{}:{}", change.entity, change.id)).collect();
        Event { channel: OWN, data: rows.join(",") }
    });
    chunks.collect()
}

/// What Kong's nodes are told of one row that was written or removed.
pub(super) fn of_write(
    events: &mut Vec<Event>,
    table: &Table,
    old: Option<&Value>,
    new: Option<&Value>,
    workspace: Uuid,
) {
    let Some(row) = new.or(old) else { return };
    let field = |row: &Value, field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let foreign = |row: &Value, name: &str| {
        let id = row.get(name).and_then(|foreign| foreign.get("id")).and_then(Value::as_str);
        id.unwrap_or_default().to_owned()
    };
    let workspace = workspace.to_string();
    let id = field(row, "id");
    let operation = match (old, new) {
        (None, _) => "create",
        (Some(_), Some(_)) => "update",
        (Some(_), None) => "delete",
    };
    let mut tell = |channel: &'static str, data: String| events.push(Event { channel, data });
    let both = || old.into_iter().chain(new);
    let composite = |row: &Value| {
        let index = table.unique.iter().find(|index| index.is_composite())?;
        Some(key_text(&table.name, &index.values(row)?, &workspace))
    };
    let name = table.name.as_str();
    match name {
        "services" | "routes" => {
            tell(CORE, key_text(name, &[&id], &workspace));
            tell(CORE, "router:version".to_owned());
        }
        "plugins" => {
            both().filter_map(composite).for_each(|key| tell(CORE, key));
            tell(CORE, "plugins_iterator:version".to_owned());
        }
        "upstreams" => {
            tell(CORE, key_text(name, &[&id], &workspace));
            tell(UPSTREAMS, format!("{operation}:{workspace}:{id}:{}", field(row, "name")));
        }
        "targets" => {
            both().filter_map(composite).for_each(|key| tell(CORE, key));
            tell(TARGETS, format!("{operation}:{}", foreign(row, "upstream")));
        }
        "vaults" => both().for_each(|row| tell(CORE, key_text(name, &[&field(row, "prefix")], ""))),
        "snis" => both().for_each(|row| tell(CORE, key_text(name, &[&field(row, "name")], &workspace))),
        "ca_certificates" => tell(CORE, key_text(name, &[&id], "")),
        "certificates" | "key_sets" => tell(CORE, key_text(name, &[&id], &workspace)),
        "keys" | "filter_chains" => both().filter_map(composite).for_each(|key| tell(CORE, key)),
        "consumers" => {
            tell(OTHER, key_text(name, &[&id], &workspace));
            for row in both() {
                for unique in ["username", "custom_id"].map(|unique| field(row, unique)) {
                    if !unique.is_empty() {
                        tell(OTHER, key_text(name, &[&unique], &workspace));
                    }
                }
            }
        }
        "acls" => {
            for row in both() {
                composite(row).into_iter().for_each(|key| tell(OTHER, key));
                tell(OTHER, key_text(name, &[&foreign(row, "consumer")], &workspace));
            }
        }
        _ => {
            // Credentials, tokens and sessions are cached by what a client shows.
            for index in table.unique.iter().filter(|index| !index.is_composite()) {
                for row in both() {
                    if let Some(values) = index.values(row) {
                        tell(OTHER, key_text(name, &values, &workspace));
                    }
                }
            }
        }
    }
}

/// Each event once, in the order of its first place.
pub(super) fn distinct(events: Vec<Event>) -> Vec<Event> {
    let mut seen = std::collections::HashSet::new();
    events.into_iter().filter(|event| seen.insert(event.clone())).collect()
}

/// The statement that writes events, with everything in it, so that it can be sent together with others; nothing for none.
pub(super) fn insertion(events: &[Event], node: Uuid) -> String {
    if events.is_empty() {
        return String::new();
    }
    let rows: Vec<String> = events
        .iter()
        .map(|event| format!("('{}'::uuid, {}, {})", own_id(), literal(event.channel), literal(&event.data)))
        .collect();
    format!(
        "INSERT INTO cluster_events (id, node_id, at, expire_at, channel, data)
         SELECT e.id, '{node}', clock_timestamp(), clock_timestamp() + interval '1 hour', e.channel, e.data
         FROM (VALUES {}) AS e(id, channel, data); ",
        rows.join(", ")
    )
}

/// A text in a statement, whatever the server thinks of backslashes. What has a NUL in it was refused before.
fn literal(text: &str) -> String {
    let escaped = text.replace('\0', "").replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// Rows that an event says have changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    Row {
        entity: String,
        id: Uuid,
    },
    /// All with this text in a field; the id, where the field is foreign.
    With {
        entity: String,
        field: String,
        value: String,
    },
}

/// What an event is about; nothing, where it is about no row.
pub(super) fn read(layout: &Layout, channel: &str, data: &str) -> BTreeSet<Wanted> {
    let mut wanted = BTreeSet::new();
    match channel {
        OWN => {
            for row in data.split(',') {
                if let Some((entity, id)) = row.split_once(':')
                    && let Ok(id) = Uuid::parse_str(id)
                {
                    wanted.insert(Wanted::Row { entity: entity.to_owned(), id });
                }
            }
        }
        TARGETS => {
            if let Some((_, upstream)) = data.split_once(':') {
                wanted.insert(with("targets", "upstream", upstream));
            }
        }
        UPSTREAMS => {
            let id = data.split(':').nth(2).and_then(|id| Uuid::parse_str(id).ok());
            wanted.extend(id.map(|id| Wanted::Row { entity: "upstreams".to_owned(), id }));
        }
        CORE | OTHER => wanted.extend(read_cache_key(layout, data)),
        _ => {}
    }
    wanted
}

fn with(entity: &str, field: &str, value: &str) -> Wanted {
    Wanted::With { entity: entity.to_owned(), field: field.to_owned(), value: value.to_owned() }
}

/// `<entity>:<value>:<value>:<value>:<value>:<value>:<workspace>`; a value may have colons in it, but only the first one is a
/// person's choice.
fn read_cache_key(layout: &Layout, data: &str) -> Option<Wanted> {
    let (entity, rest) = data.split_once(':')?;
    let table = layout.table(entity)?;
    match entity {
        "plugins" => Some(with(entity, "name", rest.split(':').next()?)),
        "acls" => Some(with(entity, "consumer", rest.split(':').next()?)),
        "targets" => Some(with(entity, "upstream", rest.split(':').next()?)),
        "keys" => Some(with(entity, "kid", rest.rsplitn(6, ':').nth(5)?)),
        "filter_chains" => {
            let mut scopes = rest.split(':');
            let (route, service) = (scopes.next()?, scopes.next()?);
            Some(if route.is_empty() { with(entity, "service", service) } else { with(entity, "route", route) })
        }
        _ => {
            let value = rest.rsplitn(6, ':').nth(5)?;
            match Uuid::parse_str(value) {
                Ok(id) if table.has_uuid && value.len() == 36 && is_cached_by_id(entity) => {
                    Some(Wanted::Row { entity: entity.to_owned(), id })
                }
                _ => {
                    let index = table.unique.iter().find(|index| !index.is_composite())?;
                    Some(with(entity, &index.parts.first()?.field, value))
                }
            }
        }
    }
}

fn is_cached_by_id(entity: &str) -> bool {
    ["services", "routes", "consumers", "upstreams", "certificates", "ca_certificates", "key_sets"].contains(&entity)
}
