//! Request paths: from the wire to the form that routes match, and on to the upstream's.

mod normalize;
mod raw;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use normalize::escaped_byte;
pub use normalize::{PathError, normalize};
pub use raw::raw_upstream_path;
pub use upstream::{PathHandling, escape_upstream, forwarded_prefix, upstream_path, upstream_path_into};
