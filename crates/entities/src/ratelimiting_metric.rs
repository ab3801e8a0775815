//! Counts of the plugin rate-limiting. The store keeps them in a way of its own; this is their form for `/schemas`.

use schema::{Record, Uuid};
use serde::{Deserialize, Serialize};

/// How many requests there were in a period.
#[derive(Record, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[entity(
    name = "ratelimiting_metrics",
    primary_key(["identifier", "period", "period_date", "service_id", "route_id"]),
    ttl,
    generate_admin_api = false,
    db_export = false
)]
pub struct RatelimitingMetric {
    /// Whose requests.
    #[field(len_min = 0)]
    pub identifier: String,
    /// The length of the period.
    pub period: String,
    /// When it began.
    #[field(timestamp)]
    pub period_date: i64,
    /// The service.
    pub service_id: Uuid,
    /// The route.
    pub route_id: Uuid,
    /// How many.
    pub value: i64,
}
