//! Scripts that Redis runs in one step. It keeps them by their digests, so that their text is sent once.

use super::resp::{self, Reply};
use super::{Failure, Redis};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::sync::OnceLock;

/// A script in Redis's Lua that answers a list of whole numbers.
pub(crate) struct Script {
    text: &'static str,
    name: OnceLock<String>,
}

/// The keys and arguments of a call. In a cluster all keys must be in one slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptCall {
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) arguments: Vec<Vec<u8>>,
}

impl Script {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, name: OnceLock::new() }
    }

    /// How Redis calls the script (`EVALSHA`).
    fn name(&self) -> &str {
        self.name.get_or_init(|| {
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, self.text.as_bytes());
            hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }

    /// Runs the script, which answers `count` numbers.
    pub(crate) async fn run(&self, redis: &Redis, call: &ScriptCall, count: usize) -> Result<Vec<i64>, Failure> {
        let key = call.keys.first().map_or(&[][..], Vec::as_slice);
        let mut reply = redis.call(key, call.command("EVALSHA", self.name())).await?;
        if matches!(&reply, Reply::Error(error) if error.starts_with("NOSCRIPT")) {
            reply = redis.call(key, call.command("EVAL", self.text)).await?;
        }
        let Reply::Array(parts) = &reply else { return Err(Failure::Other(reply.shortened())) };
        let numbers = parts.iter().map(|part| if let Reply::Number(n) = part { Some(*n) } else { None });
        let numbers: Option<Vec<i64>> = numbers.collect();
        let odd = || Failure::new("an answer that is none of the script's");
        numbers.filter(|numbers| numbers.len() == count).ok_or_else(odd)
    }
}

impl ScriptCall {
    fn command(&self, verb: &str, script: &str) -> Vec<u8> {
        let count = self.keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![verb.as_bytes(), script.as_bytes(), count.as_bytes()];
        parts.extend(self.keys.iter().chain(&self.arguments).map(Vec::as_slice));
        let mut out = Vec::with_capacity(512);
        resp::command(&mut out, &parts);
        out
    }
}
