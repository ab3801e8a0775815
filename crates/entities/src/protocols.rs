//! The protocols that services, routes and plugins know.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use schema::{Field, Type};
use serde::{Deserialize, Deserializer, Serialize};

/// All of them.
pub(crate) const PROTOCOLS: [&str; 8] = ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];

/// What a plugin or route that does not say serves.
pub(crate) const HTTP_FAMILY: [&str; 4] = ["grpc", "grpcs", "http", "https"];

/// As many different lists as valid routes can have are shared; others are kept by whoever has them.
const MOST_SHARED: usize = 64;

static SHARED: Mutex<Vec<Arc<[String]>>> = Mutex::new(Vec::new());

/// The protocols of a route. A hundred thousand routes have the same few lists, of which there is one each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Protocols(Arc<[String]>);

impl Deref for Protocols {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl FromIterator<String> for Protocols {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let names: Vec<String> = names.into_iter().collect();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.iter().find(|known| ***known == *names) {
            return Self(known.clone());
        }
        let own: Arc<[String]> = names.into();
        if shared.len() < MOST_SHARED {
            shared.push(own.clone());
        }
        Self(own)
    }
}

impl<'de> Deserialize<'de> for Protocols {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<String>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl Type for Protocols {
    fn field() -> Field {
        Vec::<String>::field()
    }
}
