//! Why a name has no address, in the words of Kong's resolver, which its health report and error answers show.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name (NXDOMAIN).
    #[error("dns server error: 3 name error")]
    NameError,
    /// The name has no records of the types asked for.
    #[error("dns client error: 101 empty record received")]
    EmptyRecord,
    #[error("dns server error: {code} {text}")]
    Server { code: u16, text: &'static str },
    #[error("dns client error: timeout: no answer from any name server")]
    Timeout,
    #[error("dns client error: {0}")]
    Client(Arc<str>),
    #[error("dns client error: invalid name")]
    InvalidName,
    /// The background task does not run, or has too much to do.
    #[error("dns client error: the resolver is not available")]
    Unavailable,
}

impl ResolveError {
    /// Whether Kong answers 503 `name resolution failed` rather than 500 with this text.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NameError | Self::EmptyRecord)
    }

    /// Of the failures of several tries the one that tells most: one that another attempt might cure.
    pub(super) fn or_worse(self, other: Self) -> Self {
        let weight = |error: &Self| match error {
            Self::InvalidName => 0,
            Self::NameError => 1,
            Self::EmptyRecord => 2,
            Self::Server { .. } | Self::Timeout | Self::Client(_) | Self::Unavailable => 3,
        };
        if weight(&other) > weight(&self) { other } else { self }
    }
}
