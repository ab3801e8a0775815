//! Elasticsearch's bulk API: what is sent of a document, and what the answer says of each.

use crate::queue::{Entries, Failure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is read of an answer: so much for each document, but never more than the last.
const ANSWER: usize = 64 << 10;
const ANSWER_OF_ENTRY: usize = 2 << 10;
const LONGEST_ANSWER: usize = 64 << 20;
/// What is told of a reason, in characters.
const REASON: usize = 300;

/// A document as an entry of the queue.
pub(super) fn entry(mut document: Value) -> String {
    // Data streams want one.
    document["@timestamp"] = document["started_at"].clone();
    format!("{{\"create\":{{}}}}\n{document}\n")
}

/// How many bytes of the answer to a batch are read.
pub(super) fn answer_bytes(batch: &Entries) -> usize {
    (ANSWER + ANSWER_OF_ENTRY * batch.len()).min(LONGEST_ANSWER)
}

#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// What became of a batch whose answer's status is a success. An answer that says nothing of errors has none: not all that
/// speak this protocol answer in full.
pub(super) fn outcome(answer: &[u8], batch: &Entries) -> Result<(), Failure> {
    let Some(answer) = serde_json::from_slice::<Answer>(answer).ok().filter(|answer| answer.errors) else {
        return Ok(());
    };
    // One for each document, in the same order.
    let failed: Vec<(&[u8], &Item)> = batch
        .iter()
        .zip(&answer.items)
        .filter_map(|(entry, item)| Some((entry, item.values().next()?)))
        .filter(|(_, item)| item.status >= 300)
        .collect();
    let is_for_now = |item: &Item| matches!(item.status, 429 | 503);
    let Some((_, first)) = failed.iter().find(|(_, item)| !is_for_now(item)).or(failed.first()) else { return Ok(()) };
    let left: Entries = failed.iter().filter(|(_, item)| is_for_now(item)).map(|(entry, _)| entry).collect();
    let refused = failed.len() - left.len();
    Err(Failure::partial(first.reason(), left, refused))
}

impl Item {
    fn reason(&self) -> String {
        let text = match (&self.error["type"], &self.error["reason"]) {
            (Value::String(kind), Value::String(reason)) => format!("{kind}: {reason}"),
            _ => self.error.as_str().unwrap_or_default().to_owned(),
        };
        // It is another's text, and goes to the error log.
        let text: String = text.chars().take(REASON).map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("a document is answered with {}: {text}", self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_answer_tells_what_is_left_and_what_is_refused() {
        let created = json!({ "create": { "_index": "i", "status": 201, "result": "created" } });
        let failed = |status: u16, reason: &str| {
            let error = json!({ "type": "some_exception", "reason": reason, "caused_by": { "type": "x" } });
            json!({ "create": { "_index": "i", "status": status, "error": error } })
        };
        let told =
            |status: u16, reason: &str| format!("a document is answered with {status}: some_exception: {reason}");
        let partial =
            |reason: String, left: &[&str], refused| Err(Failure::partial(reason, left.iter().collect(), refused));
        let errors = |items: Value| json!({ "took": 3, "errors": true, "items": items }).to_string();
        for (answer, want) in [
            (String::new(), Ok(())),
            ("OK".to_owned(), Ok(())),
            (json!({ "errors": false }).to_string(), Ok(())),
            (json!({ "errors": false, "items": [created, created, created] }).to_string(), Ok(())),
            (errors(json!([created, created, created])), Ok(())),
            (errors(json!([])), Ok(())),
            (errors(json!([created, failed(429, "full"), created])), partial(told(429, "full"), &["b"], 0)),
            (errors(json!([failed(503, "a"), failed(429, "b"), created])), partial(told(503, "a"), &["a", "b"], 0)),
            (errors(json!([failed(400, "no\ndate"), created, created])), partial(told(400, "no date"), &[], 1)),
            (
                errors(json!([failed(429, "full"), failed(400, "no"), failed(409, "there")])),
                partial(told(400, "no"), &["a"], 2),
            ),
            (
                errors(json!([created, created, { "create": { "status": 500, "error": "a text" } }])),
                partial("a document is answered with 500: a text".to_owned(), &[], 1),
            ),
            (
                errors(json!([failed(400, &"x".repeat(1000)), created, created])),
                partial(told(400, &"x".repeat(300 - "some_exception: ".len())), &[], 1),
            ),
        ] {
            let batch: Entries = ["a", "b", "c"].into_iter().collect();
            assert_eq!(outcome(answer.as_bytes(), &batch), want, "{answer}");
        }
    }

    #[test]
    fn answers_have_a_bound() {
        for (entries, want) in [(1, 66 << 10), (500, 1064 << 10), (1_000_000, 64 << 20)] {
            let batch: Entries = std::iter::repeat_n("", entries).collect();
            assert_eq!(answer_bytes(&batch), want, "{entries}");
        }
    }
}
