//! sticky-sessions: a cookie names the address that a client's session lives on. As long as that address is up, the client
//! comes back to it, also while it is drained (weight 0); otherwise another one is chosen, and named in a new cookie.

use std::collections::HashMap;

use uuid::Uuid;

use crate::address::{Address, AddressId, Members};

/// The addresses of a balancer by the tokens in cookies.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_token: HashMap<String, AddressId>,
    /// Where an address stands: its tier and its place there. By the short form of its id.
    places: HashMap<u32, (usize, usize)>,
}

impl Sessions {
    pub(crate) fn new<'a>(upstream: &str, tiers: impl Iterator<Item = &'a Members>) -> Self {
        let (mut by_token, mut places) = (HashMap::new(), HashMap::new());
        for (tier, members) in tiers.enumerate() {
            for (index, member) in members.list.iter().enumerate() {
                by_token.insert(token(upstream, &member.address), member.id());
                places.insert(member.id().short(), (tier, index));
            }
        }
        Self { by_token, places }
    }

    pub(crate) fn find(&self, token: &[u8]) -> Option<AddressId> {
        self.by_token.get(std::str::from_utf8(token).ok()?).copied()
    }

    pub(crate) fn place(&self, id: u32) -> Option<(usize, usize)> {
        self.places.get(&id).copied()
    }
}

/// The same on every node and over restarts; it does not tell the address.
pub(crate) fn token(upstream: &str, address: &Address) -> String {
    let text = format!("{upstream}|{}|{}|{}", address.hostname, address.ip, address.port);
    Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes()).simple().to_string()
}
