//! What must hold of declarative files for any input, and the catalog of the tests; the check panics where it does not hold.
//! `make fuzz` looks for inputs.

use crate::declarative::{Declarative, Invalid, export, parse};
use crate::{AvailablePlugin, Catalog, PluginSchema, RouterFlavor};
use schema::{Context, Field, RecordSchema, Value};
use std::time::Duration;

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

fn rows(declarative: &Declarative) -> Vec<(String, Value)> {
    declarative.rows().map(|(entity, row)| (entity.to_owned(), row.clone())).collect()
}

/// A file is refused, or loaded, and says the same when it is exported and loaded again.
///
/// # Panics
/// Where that does not hold.
pub fn kong_yml(input: &[u8]) {
    thread_local!(static CATALOG: Catalog = catalog(RouterFlavor::default()));
    let Ok(text) = std::str::from_utf8(input) else { return };
    CATALOG.with(|catalog| {
        let load =
            |text: &str| -> Result<Declarative, Invalid> { with_context(catalog, |cx| parse(text, catalog, cx)) };
        let Ok(declarative) = load(text) else { return };
        let exported = export(declarative.rows(), catalog);
        match load(&exported) {
            Ok(again) => assert_eq!(rows(&again), rows(&declarative), "{exported}"),
            Err(invalid) => panic!("{exported}\n{:?}", invalid.fields()),
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_refused_or_says_the_same_when_it_is_exported() {
        mutation::check("kong_yml", super::kong_yml);
    }
}
