//! Limits that a consumer group has of its own, as Kong Enterprise stores them (`/consumer_groups/{group}/overrides/...`).

use schema::{CheckError, Foreign, Map, Record, Uuid, Value};
use serde::{Deserialize, Serialize};

/// The limits that a plugin has for the members of a group, where its `enforce_consumer_groups` says so.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(
    name = "consumer_group_plugins",
    cache_key(["consumer_group", "name"]),
    workspaceable,
    generate_admin_api = false
)]
#[check(custom(["config"], have_limits))]
pub struct ConsumerGroupPlugin {
    #[field(auto)]
    pub id: Uuid,
    #[field(auto, timestamp)]
    pub created_at: i64,
    #[field(auto, timestamp)]
    pub updated_at: i64,
    /// The group.
    #[field(reference = "consumer_groups", on_delete = "cascade")]
    pub consumer_group: Foreign,
    /// Which plugin it is.
    #[field(one_of(["rate-limiting-advanced"]))]
    pub name: String,
    /// What stands in the place of the plugin's own.
    pub config: GroupLimits,
}

/// The fields of `rate-limiting-advanced` that a group may have of its own.
#[derive(Record, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct GroupLimits {
    /// The lengths of the windows, in seconds.
    #[field(elements(gt = 0))]
    pub window_size: Vec<f64>,
    /// How the windows count.
    #[field(default = "sliding", one_of(["fixed", "sliding"]))]
    pub window_type: Option<String>,
    /// How many requests are let through in each window.
    #[field(elements(gt = 0))]
    pub limit: Vec<f64>,
    /// How many seconds `Retry-After` is put off at most, at random.
    #[field(default = 0)]
    pub retry_after_jitter_max: Option<f64>,
}

fn have_limits(entity: &Map<String, Value>) -> Result<(), CheckError> {
    let count = |name: &str| {
        let list = entity.get("config").and_then(|config| config.get(name)).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    };
    if count("window_size") == count("limit") && count("limit") > 0 {
        return Ok(());
    }
    Err("You must provide the same number of windows and limits".into())
}
