//! A thread's connections to upstreams that carry many requests at once (HTTP/2). Where all to an upstream carry as many as it
//! takes, another one is opened; requests that come meanwhile wait for it, and share it.

use super::pool::PoolKey;
use crate::http::h1::client::ExchangeError;
use crate::http::h2::client::{Channel, Room};
use crate::settings::PoolSettings;
use ahash::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;

/// How the opening of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It can be shared.
    Shared,
    /// The upstream speaks HTTP/1.
    Http1,
    Failed(ExchangeError),
    /// Whose it was went away.
    Abandoned,
}

/// A connection on its way.
#[derive(Default)]
pub(crate) struct Opening {
    opened: Cell<Option<Opened>>,
    ended: Notify,
}

impl Opening {
    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Opened {
        loop {
            let ended = self.ended.notified();
            match self.opened.get() {
                Some(opened) => return opened,
                None => ended.await,
            }
        }
    }
}

/// Who opens a connection tells those who wait for it.
pub(crate) struct Opener(Option<Rc<Opening>>);

impl Opener {
    /// Nobody waits.
    pub(crate) fn alone() -> Self {
        Self(None)
    }

    pub(crate) fn end(mut self, opened: Opened) {
        self.tell(opened);
    }

    fn tell(&mut self, opened: Opened) {
        if let Some(opening) = self.0.take() {
            opening.opened.set(Some(opened));
            opening.ended.notify_waiters();
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.tell(Opened::Abandoned);
    }
}

/// What a request finds.
pub(crate) enum Claim {
    Room(Room),
    Wait(Rc<Opening>),
    /// A connection is to be opened.
    Open(Opener),
}

#[derive(Default)]
struct Place {
    open: Vec<Channel>,
    opening: Option<Rc<Opening>>,
}

pub(crate) struct Channels {
    settings: PoolSettings,
    places: RefCell<HashMap<PoolKey, Place>>,
}

impl Channels {
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self { settings, places: RefCell::default() }
    }

    /// Room for a request to there, or how to come by it.
    pub(crate) fn claim(&self, key: &PoolKey) -> Claim {
        if self.settings.size == 0 {
            return Claim::Open(Opener::alone());
        }
        let mut places = self.places.borrow_mut();
        let place = places.entry(key.clone()).or_default();
        let mut at = 0;
        while let Some(channel) = place.open.get(at) {
            // One that is spent ends with the requests that it carries.
            let is_spent = self.settings.max_requests > 0 && channel.requests() >= self.settings.max_requests;
            if is_spent || channel.is_closed() {
                place.open.remove(at);
                continue;
            }
            if let Some(room) = channel.room() {
                return Claim::Room(room);
            }
            at += 1;
        }
        if place.open.len() >= self.settings.size {
            return Claim::Open(Opener::alone());
        }
        if let Some(opening) = place.opening.as_ref().filter(|opening| opening.opened.get().is_none()) {
            return Claim::Wait(opening.clone());
        }
        Claim::Open(Opener(Some(place.opening.insert(Rc::default()).clone())))
    }

    /// Keeps a connection for further requests, as long as there are not too many.
    pub(crate) fn keep(&self, key: PoolKey, channel: Channel) {
        let mut places = self.places.borrow_mut();
        let open = &mut places.entry(key).or_default().open;
        if open.len() < self.settings.size {
            open.push(channel);
        }
    }

    /// Lets go of what no request has used for too long, or its peer has closed.
    pub(crate) fn sweep(&self) {
        let limit = self.settings.idle_timeout;
        self.places.borrow_mut().retain(|_, place| {
            // One that still carries a long answer goes on until its end; only new requests get another one.
            place.open.retain(|channel| channel.idle_since().elapsed() < limit && !channel.is_closed());
            place.opening.take_if(|opening| opening.opened.get().is_some());
            !place.open.is_empty() || place.opening.is_some()
        });
    }
}
