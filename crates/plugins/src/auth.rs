//! What the authentication plugins share: look-ups, the anonymous consumer, challenges.

use entities::Consumer;
use pdk::{Consumers, Context, Credential, Lookup, Response, Step};
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: &'static str,
}

impl Refusal {
    pub(crate) const fn unauthorized(message: &'static str) -> Self {
        Self { status: 401, message }
    }
}

/// `scheme realm="..."`, or the scheme alone. Quotes and backslashes of the realm are escaped (RFC 9110, 5.6.4); Kong
/// writes them as they are.
pub(crate) fn challenge(scheme: &str, realm: Option<&str>) -> Box<[u8]> {
    let Some(realm) = realm else { return scheme.as_bytes().into() };
    let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{scheme} realm=\"{quoted}\"").into_bytes().into()
}

/// A credential together with the consumer it belongs to; without the consumer there is no credential.
pub(crate) fn with_consumer<'a, C: 'a>(
    consumers: &'a Consumers,
    credential: Lookup<'a, C>,
    owner: fn(&C) -> Uuid,
) -> Lookup<'a, (C, Arc<Consumer>)> {
    let credential = match credential {
        Lookup::Ready(None) => return Lookup::Ready(None),
        Lookup::Ready(Some(credential)) => credential,
        Lookup::Later(later) => {
            return Lookup::Later(Box::pin(async move {
                let credential = later.await?;
                let consumer = consumers.consumer(owner(&credential)).wait().await?;
                Some((credential, consumer))
            }));
        }
    };
    match consumers.consumer(owner(&credential)) {
        Lookup::Ready(found) => Lookup::Ready(found.map(|consumer| (credential, consumer))),
        Lookup::Later(later) => Lookup::Later(Box::pin(async move { Some((credential, later.await?)) })),
    }
}

/// Whether an earlier plugin has authenticated the client and this one, having an anonymous consumer, need not.
pub(crate) fn is_done(cx: &Context, anonymous: Option<&str>) -> bool {
    anonymous.is_some() && cx.credential.is_some()
}

/// Lets the client in as its consumer. What identifies the credential to the upstream is its id, where nothing else is said.
pub(crate) fn accept(cx: &mut Context, consumer: Arc<Consumer>, credential_id: Uuid, identifier: Option<&str>) {
    let id: Rc<str> = Rc::from(&*credential_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    let identifier = identifier.map_or_else(|| id.clone(), Rc::from);
    let credential = Credential { id, consumer_id: Some(consumer.id), identifier: Some(identifier) };
    cx.authenticate(Some(consumer), Some(credential), false);
}

/// Refuses the request, or lets it in as the anonymous consumer where one is configured.
pub(crate) fn refuse<'a>(
    cx: &'a mut Context,
    anonymous: Option<&'a str>,
    answer: impl FnOnce(&Context) -> Response,
) -> Step<'a> {
    let Some(name) = anonymous else {
        return Step::exit(answer(cx));
    };
    let ready = cx.shared.consumers.consumer_by_id_or_username(name).ready();
    if let Some(found) = ready {
        return enter_as(cx, found, name);
    }
    Step::Wait(Box::pin(async move {
        let consumers = cx.shared.consumers.clone();
        let found = consumers.consumer_by_id_or_username(name).wait().await;
        enter_as(cx, found, name).settle().await
    }))
}

fn enter_as<'a>(cx: &mut Context, consumer: Option<Arc<Consumer>>, name: &str) -> Step<'a> {
    if consumer.is_none() {
        let message = format!("anonymous consumer {name} is configured but doesn't exist");
        return Step::exit(Response::error(cx, 500, &message));
    }
    cx.authenticate(consumer, None, true);
    Step::Continue
}

/// `kong.response.error` with a `WWW-Authenticate`.
pub(crate) fn unauthorized(cx: &Context, refusal: Refusal, challenge: &[u8]) -> Response {
    let mut response = Response::error(cx, refusal.status, refusal.message);
    response.headers.append("WWW-Authenticate", challenge);
    response
}
