//! Counts of rate limits in Kong's table, where Kong's nodes count too.
use super::pool::{Bound, Transaction, text};
use super::violations::failed;
use crate::{Count, Error};
use tokio_postgres::types::Type;

const REQUESTS: &str = "\
INSERT INTO ratelimiting_metrics AS known (identifier, period, period_date, service_id, route_id, value, ttl)
VALUES ($1, $2, to_timestamp($3), $4::uuid, $5::uuid, $6, CURRENT_TIMESTAMP + $7 * interval '1 second')
ON CONFLICT (identifier, period, period_date, service_id, route_id)
DO UPDATE SET value = known.value + excluded.value
RETURNING value";

const RESPONSES: &str = "\
INSERT INTO response_ratelimiting_metrics AS known (identifier, period, period_date, service_id, route_id, value)
VALUES ($1, $2, to_timestamp($3), $4::uuid, $5::uuid, $6)
ON CONFLICT (identifier, period, period_date, service_id, route_id)
DO UPDATE SET value = known.value + excluded.value
RETURNING value";

pub(super) fn add(transaction: &Transaction<'_>, counts: &[Count<'_>]) -> Result<Vec<i64>, Error> {
    let mut order: Vec<usize> = (0..counts.len()).collect();
    // Two nodes take their rows in the same order, so that neither waits for the other in a circle.
    order.sort_by_key(|at| {
        counts.get(*at).map(|count| (count.identifier, count.limit, count.period, count.service, count.route))
    });
    let mut totals = vec![0; counts.len()];
    for at in order {
        if let (Some(count), Some(total)) = (counts.get(at), totals.get_mut(at)) {
            *total = add_one(transaction, count)?;
        }
    }
    Ok(totals)
}

fn add_one(transaction: &Transaction<'_>, count: &Count<'_>) -> Result<i64, Error> {
    let (service, route) = (count.service.to_string(), count.route.to_string());
    let (start, ttl) = (count.start as f64, count.ttl as f64);
    let delta = i32::try_from(count.delta).unwrap_or(i32::MAX);
    let named = count.limit.map(|limit| format!("{limit}_{}", count.period));
    let period = named.as_deref().unwrap_or(count.period);
    let values: [Bound<'_>; 7] = [
        text(&count.identifier),
        text(&period),
        (&start, Type::FLOAT8),
        text(&service),
        text(&route),
        (&delta, Type::INT4),
        (&ttl, Type::FLOAT8),
    ];
    let rows = match named {
        None => transaction.query(REQUESTS, &values),
        // This table has no column that says how long rows are kept.
        Some(_) => transaction.query(RESPONSES, &values[..6]),
    }?;
    let row = rows.first().ok_or_else(|| Error::database("a count was not kept"))?;
    let value: i32 = row.try_get(0).map_err(|error| failed(&error))?;
    Ok(i64::from(value))
}
