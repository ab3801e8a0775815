//! Which of several matching candidates wins: one totally ordered value a candidate, the same whatever else is configured.

use uuid::Uuid;

use crate::definition::{Definition, HostRule, Kinds};

/// Greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    major: u64,
    tie: [u64; 2],
}

impl Rank {
    #[cfg(test)]
    pub(crate) fn tie_id(self) -> Uuid {
        Uuid::from_u64_pair(self.tie[0], self.tie[1])
    }

    /// What decides between equals otherwise: mostly the route's id, in [`halves`].
    pub(crate) fn tie(self) -> [u64; 2] {
        self.tie
    }

    pub(crate) fn major(self) -> u64 {
        self.major
    }
}

/// Room for the length of a prefix or a regex_priority below the other parts of a rank.
const LOW_BITS: u32 = 44;
/// An explicit expression outranks every generated one (Kong: the top byte).
const EXPRESSION: u64 = 0xFF << 56;
const MAX_HEADERS: usize = 255;

/// The path a candidate stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    None,
    Prefix(usize),
    Regex,
}

/// Flavors traditional_compatible and expressions: ties go to the greater id (of the path group).
pub(crate) fn compatible(definition: &Definition, path: PathKind, id: Uuid) -> Rank {
    let major = match &definition.expression {
        Some(_) => EXPRESSION | (definition.priority & !EXPRESSION),
        None if definition.is_stream => stream_major(definition),
        None => http_major(definition, path),
    };
    Rank { major, tie: halves(id) }
}

/// The order that Kong really has wherever the recorded cases pin it: docs/decisions on the order of routes.
fn http_major(definition: &Definition, path: PathKind) -> u64 {
    let kinds = u64::from(definition.kinds.count());
    let many_kinds = if kinds >= 3 { kinds } else { 0 };
    let is_plain = definition.kinds.has(Kinds::HOST) && definition.hosts.iter().all(|host| !host.is_wildcard());
    let (is_regex, low) = low_part(definition, path);
    (many_kinds << 59)
        | (u64::from(is_plain) << 58)
        | (u64::from(is_regex) << 57)
        | (kinds << 54)
        | (header_count(definition) << 46)
        | low
}

fn stream_major(definition: &Definition) -> u64 {
    let has = |kind| definition.kinds.has(kind);
    let is_specific = has(Kinds::SNI) || (has(Kinds::SOURCE) && has(Kinds::DESTINATION));
    let weight = |nets: &[crate::definition::Net]| {
        nets.iter().fold(0, |bits, net| {
            let ip = net.address.as_ref().map_or(0, |address| if address.is_single() { 0b1000 } else { 0b0001 });
            bits | ip | if net.port.is_some() { 0b0100 } else { 0 }
        })
    };
    (u64::from(is_specific) << 61) | (weight(&definition.sources) << 4) | weight(&definition.destinations)
}

/// Flavor traditional: categories by number and kind of attributes, then submatch weight, headers, regex_priority, length of the
/// prefix; ties go to the older route.
pub(crate) fn traditional(definition: &Definition, path: PathKind) -> Rank {
    let (is_regex, low) = low_part(definition, path);
    let hosts = &definition.hosts;
    let has_wildcard_port = hosts.iter().any(|host| host.is_wildcard() && host.port.is_some());
    let is_plain = !hosts.is_empty() && hosts.iter().all(|host: &HostRule| !host.is_wildcard());
    let weight = (u64::from(has_wildcard_port) << 2) | (u64::from(is_plain) << 1) | u64::from(is_regex);
    let category = (u64::from(definition.kinds.count()) << 7) | u64::from(definition.kinds.bits());
    // Seven bits are left between weight and low part; Kong itself stops counting at 255.
    let headers = header_count(definition).min(0x7F);
    let major = (category << 54) | (weight << 51) | (headers << LOW_BITS) | low;
    // Seconds since 1970, turned around; the id only makes the order total.
    let age = u64::MAX - definition.created_at.cast_unsigned();
    Rank { major, tie: [age, halves(definition.id)[0]] }
}

fn header_count(definition: &Definition) -> u64 {
    definition.headers.len().min(MAX_HEADERS) as u64
}

/// Regex and prefix never meet in these bits: the bit above tells them apart.
fn low_part(definition: &Definition, path: PathKind) -> (bool, u64) {
    match path {
        PathKind::None => (false, 0),
        PathKind::Prefix(length) => (false, (length as u64).min((1 << LOW_BITS) - 1)),
        PathKind::Regex => {
            let half = 1i64 << (LOW_BITS - 1);
            let shifted = definition.regex_priority.clamp(-half, half - 1) + half;
            (true, shifted.cast_unsigned())
        }
    }
}

pub(crate) fn halves(id: Uuid) -> [u64; 2] {
    let (high, low) = id.as_u64_pair();
    [high, low]
}
