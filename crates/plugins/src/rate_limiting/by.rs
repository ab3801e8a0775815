//! Whose requests are counted together.

use crate::stack_text::StackText;
use aws_lc_rs::digest::{SHA256, digest};
use pdk::Context;
use uuid::Uuid;

/// Longer identifiers are told to others as their hashes.
const LONGEST_TOLD: usize = 128;

/// What a request is counted by. Where it has no such thing, its client's address.
pub(crate) enum By {
    Consumer,
    Credential,
    Ip,
    Service,
    Header(String),
    Path(String),
    /// The consumer group that the instance is for; without one the first of these that the consumer is in, else of its own.
    Group(Option<Uuid>, Box<[Uuid]>),
    /// All of these together.
    Compound(Box<[By]>),
}

impl By {
    /// `name` as the config has it, with what `header` and `path` need.
    pub(crate) fn new(name: &str, header_name: Option<String>, path: Option<String>) -> Self {
        match (name, header_name, path) {
            ("credential", ..) => Self::Credential,
            ("ip", ..) => Self::Ip,
            ("service", ..) => Self::Service,
            ("header", Some(name), _) => Self::Header(name),
            ("path", _, Some(path)) => Self::Path(path),
            _ => Self::Consumer,
        }
    }

    /// Calls with the request's identifier.
    pub(crate) fn with<R>(&self, cx: &Context, then: impl FnOnce(&str) -> R) -> R {
        let (id, compound);
        let identifier = match self {
            Self::Consumer if cx.consumer.is_some() => {
                id = Short::of_id(cx.consumer.as_ref().map(|c| c.id).unwrap_or_default());
                Some(id.as_str())
            }
            Self::Consumer | Self::Credential => cx.credential.as_ref().map(|c| &*c.id),
            Self::Service => {
                id = Short::of_id(cx.service.map(|s| s.id).unwrap_or_default());
                cx.service.is_some().then_some(id.as_str())
            }
            Self::Header(name) => cx.request.headers.get_str(name),
            Self::Group(scope, first) => {
                let group = scope.or_else(|| joined(cx, first));
                id = Short::of_id(group.unwrap_or_default());
                group.is_some().then_some(id.as_str())
            }
            Self::Path(path) => is_at(cx.request.path(), path).then_some(path.as_str()),
            Self::Compound(parts) => {
                let mut all = String::new();
                // With its length, so that no part's end can be taken for another's beginning.
                let mut add = |one: &str| all += &format!("{}:{one}", one.len());
                // One type of closure, for it calls itself.
                parts.iter().for_each(|part| part.with(cx, &mut add as &mut dyn FnMut(&str)));
                compound = all;
                Some(compound.as_str())
            }
            Self::Ip => None,
        };
        match identifier {
            Some(identifier) => then(identifier),
            None => then(Short::of_address(cx.client.ip).as_str()),
        }
    }

    /// Calls with the request's identifier as other nodes are told it: a long one is its hash, which is the same on all.
    pub(crate) fn with_told<R>(&self, cx: &Context, then: impl FnOnce(&str) -> R) -> R {
        self.with(cx, |identifier| {
            if identifier.len() <= LONGEST_TOLD {
                return then(identifier);
            }
            let bytes = digest(&SHA256, identifier.as_bytes());
            then(&bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        })
    }
}

/// Whether a request's path is this one in its normal form, so that another spelling is no way around a limit.
fn is_at(raw: &[u8], path: &str) -> bool {
    raw == path.as_bytes() || schema::validators::normalize(&String::from_utf8_lossy(raw)) == path
}

/// The consumer group of the client: of those it is in, by their names, one that comes first where it is in several.
fn joined(cx: &Context, first: &[Uuid]) -> Option<Uuid> {
    let own = cx.shared.consumers.groups(cx.consumer.as_ref()?.id);
    let is_own = |id: &&Uuid| own.iter().any(|group| group.id == **id);
    first.iter().find(is_own).copied().or_else(|| own.first().map(|group| group.id))
}

/// Long enough for an address, a UUID or a number.
pub(crate) type Short = StackText<46>;
