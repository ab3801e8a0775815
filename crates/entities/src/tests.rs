//! The entities' schemas, by tables of input and what comes of it.

mod beyond;
mod catalog;
mod configuration;
mod expression;
mod secrets;
mod writes;

use std::time::Duration;

use schema::{Context, Field, RecordSchema, Value};

use crate::{AvailablePlugin, Catalog, PluginSchema, RouterFlavor};

/// 2027-01-15.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A catalog with a plugin that knows no consumer and one that has it all.
pub(crate) fn catalog(flavor: RouterFlavor) -> Catalog {
    let names = Field::array(Field::string()).required(true).default(["apikey"]);
    let key_auth = RecordSchema::new([("key_names", names)]).into();
    let limits = RecordSchema::new([
        ("minute", Field::number()),
        ("policy", Field::string().default("local").one_of(["local", "redis"])),
    ])
    .into();
    let plugin = |priority, schema| AvailablePlugin { priority, version: "1.0.0".into(), schema };
    Catalog::new(
        flavor,
        vec![
            plugin(910, PluginSchema::plugin("limits", &limits)),
            plugin(1250, PluginSchema::plugin("key-auth", &key_auth).no_consumer().protocols_http()),
        ],
    )
}

/// Runs with a context that counts its random bytes up.
pub(crate) fn with_context<T>(catalog: &Catalog, work: impl FnOnce(&Context<'_>) -> T) -> T {
    let next = std::sync::atomic::AtomicU8::new(1);
    let random = |bytes: &mut [u8]| {
        for byte in bytes {
            *byte = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    work(&Context { now: NOW, random: &random, schemas: catalog })
}

/// The error tree of an insert, or null.
fn refusal(catalog: &Catalog, entity: &str, input: Value) -> Value {
    let schema = catalog.entity(entity).unwrap();
    match with_context(catalog, |cx| schema.insert(input, cx, &mut ())) {
        Ok(_) => Value::Null,
        Err(error) => error.fields.clone().unwrap_or_else(|| error.to_json()),
    }
}

fn inserted(catalog: &Catalog, entity: &str, input: Value) -> Value {
    let schema = catalog.entity(entity).unwrap();
    with_context(catalog, |cx| schema.insert(input, cx, &mut ())).unwrap()
}
