//! `custom_fields_by_lua` of the logging plugins: valid configuration that needs Lua to run.

use indexmap::IndexMap;
use pdk::BuildError;

pub(crate) type CustomFields = Option<IndexMap<String, String>>;

/// This version has no Lua: an instance that has custom fields is not built, rather than logging without them.
pub(crate) fn refuse(plugin: &str, fields: &CustomFields) -> Result<(), BuildError> {
    if fields.as_ref().is_none_or(IndexMap::is_empty) {
        return Ok(());
    }
    Err(BuildError(format!("{plugin}: custom_fields_by_lua needs Lua, which this version does not have")))
}
