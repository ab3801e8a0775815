//! Counts of rate limits in SQLite: a table with the columns of Kong's, times in seconds after the epoch.
use crate::Count;
use rusqlite::{Connection, params};
use std::borrow::Cow;

/// Counts whose time is over and that are deleted with each addition, at most.
const PURGED: u32 = 100;

pub(super) fn define(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS ratelimiting_metrics (identifier TEXT NOT NULL, period TEXT NOT NULL,
           period_date INTEGER NOT NULL, service_id TEXT NOT NULL, route_id TEXT NOT NULL, value INTEGER NOT NULL,
           ttl REAL NOT NULL, PRIMARY KEY (identifier, period, period_date, service_id, route_id)) STRICT;
         CREATE INDEX IF NOT EXISTS ratelimiting_metrics_ttl ON ratelimiting_metrics (ttl);",
    )
}

pub(super) fn add(connection: &Connection, counts: &[Count<'_>], now: f64) -> rusqlite::Result<Vec<i64>> {
    let mut add = connection.prepare_cached(
        "INSERT INTO ratelimiting_metrics (identifier, period, period_date, service_id, route_id, value, ttl)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET value = value + excluded.value RETURNING value",
    )?;
    let total = |count: &Count<'_>| {
        let (service, route) = (count.service.to_string(), count.route.to_string());
        let start = count.start as i64;
        let row = params![count.identifier, period(count), start, service, route, count.delta, now + count.ttl as f64];
        add.query_row(row, |row| row.get(0))
    };
    let totals = counts.iter().map(total).collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut purge = connection.prepare_cached(
        "DELETE FROM ratelimiting_metrics
         WHERE rowid IN (SELECT rowid FROM ratelimiting_metrics WHERE ttl < ?1 LIMIT ?2)",
    )?;
    purge.execute(params![now, PURGED])?;
    Ok(totals)
}

/// As Kong writes it: limits on responses have names.
fn period<'a>(count: &Count<'a>) -> Cow<'a, str> {
    count.limit.map_or(Cow::Borrowed(count.period), |limit| Cow::Owned(format!("{limit}_{}", count.period)))
}
