//! # request-size-limiting
//!
//! Refuses requests whose body is larger than allowed. A body of unknown length is read first, at most as far as allowed.

use entities::PluginSchema;
use pdk::{BodyError, BuildError, Context, Definition, Flow, Instance, Phases, Plugin, Response, Step};
use schema::Record;
use serde::Deserialize;
use std::sync::Arc;

pub const DEFINITION: Definition = Definition {
    name: "request-size-limiting",
    priority: 951,
    version: crate::VERSION,
    phases: Phases::ACCESS,
    schema,
    build,
};

#[derive(Record, Deserialize, Clone, Debug)]
struct Config {
    /// The largest body that is let through, in `size_unit`s.
    #[field(default = 128)]
    allowed_payload_size: Option<i64>,
    /// What `allowed_payload_size` counts.
    #[field(default = "megabytes", one_of(["megabytes", "kilobytes", "bytes"]))]
    size_unit: String,
    /// Whether requests must say how long their body is.
    #[field(default = false)]
    require_content_length: bool,
}

fn schema() -> PluginSchema {
    PluginSchema::plugin(DEFINITION.name, Config::record()).protocols_http()
}

fn build(instance: &Instance<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = instance.config()?;
    let unit = match config.size_unit.as_str() {
        "bytes" => 1,
        "kilobytes" => 1 << 10,
        _ => 1 << 20,
    };
    let limit = config.allowed_payload_size.unwrap_or(128).saturating_mul(unit);
    Ok(Arc::new(RequestSizeLimiting { limit, needs_length: config.require_content_length }))
}

struct RequestSizeLimiting {
    /// In bytes. Below zero no request is small enough.
    limit: i64,
    needs_length: bool,
}

impl Plugin for RequestSizeLimiting {
    fn access<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let headers = &cx.request.headers;
        if let Some(length) = headers.get_str("content-length").and_then(|text| text.trim().parse::<u64>().ok()) {
            return if self.is_beyond(length) { Step::Exit(too_large(cx)) } else { Step::Continue };
        }
        let is_chunked = headers.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case(b"chunked"));
        if self.needs_length && !is_chunked {
            return Step::exit(Response::error(cx, 411, "A valid Content-Length header is required"));
        }
        match cx.request.body.len() {
            Some(length) if self.is_beyond(length) => Step::Exit(too_large(cx)),
            Some(_) => Step::Continue,
            None => Step::Wait(Box::pin(self.read(cx))),
        }
    }
}

impl RequestSizeLimiting {
    fn is_beyond(&self, length: u64) -> bool {
        i64::try_from(length).unwrap_or(i64::MAX) > self.limit
    }

    async fn read(&self, cx: &mut Context<'_>) -> Flow {
        let most = usize::try_from(self.limit.max(0)).unwrap_or(usize::MAX);
        match cx.request.body.collect(most).await {
            Ok(_) if self.limit < 0 => Flow::Exit(too_large(cx)),
            Ok(_) => Flow::Continue,
            Err(BodyError::TooLarge) => Flow::Exit(too_large(cx)),
            Err(error) => Flow::Exit(Box::new(cx.body_error(error))),
        }
    }
}

fn too_large(cx: &Context) -> Box<Response> {
    let expects =
        cx.request.headers.get("expect").is_some_and(|v| v.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
    Box::new(Response::error(cx, if expects { 417 } else { 413 }, "Request size limit exceeded"))
}

#[cfg(test)]
mod tests;
