//! Rules by which requests are sampled at rates of their own.

use pdk::Context;
use schema::Record;
use serde::Deserialize;

/// A kind of requests and its rate. What is not said fits all.
#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Rule {
    /// The route's name or id.
    route: Option<String>,
    /// The service's name or id.
    service: Option<String>,
    /// The request's method.
    method: Option<String>,
    /// What the request's path begins with.
    path: Option<String>,
    /// The share of these requests that is sampled.
    #[field(between(0, 1))]
    rate: f64,
}

fn is(wanted: Option<&str>, name: Option<&str>, id: impl Fn() -> Option<String>) -> bool {
    wanted.is_none_or(|wanted| name == Some(wanted) || id().is_some_and(|id| id == wanted))
}

impl Rule {
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn fits(&self, cx: &Context) -> bool {
        let (route, service) = (cx.route, cx.service);
        let method = self.method.as_deref();
        let path = self.path.as_deref();
        method.is_none_or(|method| method == cx.request.method.as_str())
            && path.is_none_or(|path| cx.request.path().starts_with(path.as_bytes()))
            && is(self.route.as_deref(), route.and_then(|r| r.name.as_deref()), || route.map(|r| r.id.to_string()))
            && is(self.service.as_deref(), service.and_then(|s| s.name.as_deref()), || {
                service.map(|s| s.id.to_string())
            })
    }
}
