//! # bot-detection
//!
//! Keeps out clients whose `User-Agent` matches a regex of `deny` or that of a known crawler; what matches a regex of `allow`
//! passes before both. A client that names none passes.

mod crawlers;
mod patterns;

use entities::PluginSchema;
use patterns::Patterns;
use pdk::{BuildError, Context, Definition, Instance, Phases, Plugin, Response, Step};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "bot-detection",
    priority: 2500,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// Regexes of user agents that pass, whatever else they match.
    #[field(default = [""; 0], elements(is_regex))]
    allow: Option<Vec<String>>,
    /// Regexes of user agents that are kept out, beside the known crawlers.
    #[field(default = [""; 0], elements(is_regex))]
    deny: Option<Vec<String>>,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).no_consumer().protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let patterns = |list: Option<Vec<String>>| Patterns::new(&list.unwrap_or_default());
    Ok(Arc::new(BotDetection { allow: patterns(config.allow)?, deny: patterns(config.deny)? }))
}

struct BotDetection {
    allow: Patterns,
    deny: Patterns,
}

impl Plugin for BotDetection {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let mut agents = cx.request.headers.get_all("user-agent");
        let Some(agent) = agents.next() else { return Step::Continue };
        if agents.next().is_some() {
            return Step::exit(Response::error(cx, 400, "Only one User-Agent header allowed"));
        }
        if self.passes(agent.trim_ascii()) {
            return Step::Continue;
        }
        Step::exit(Response::error(cx, 403, "Forbidden"))
    }
}

impl BotDetection {
    fn passes(&self, agent: &[u8]) -> bool {
        self.allow.match_any(agent, false) || !(self.deny.match_any(agent, true) || crawlers::is_crawler(agent))
    }
}

#[cfg(test)]
mod tests;
