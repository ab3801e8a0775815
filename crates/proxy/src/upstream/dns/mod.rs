//! Name resolution of the data plane: Kong's rules (order of types, search list, hosts file, own times to live, stale
//! answers) over hickory-resolver. One cache a node; a hit takes no lock, all queries run in one background task.

mod answers;
mod cache;
mod client;
mod counts;
mod error;
mod hosts;
mod resolv_conf;
mod resolver;
mod settings;
#[cfg(test)]
pub(super) mod tests;

pub use answers::{Answers, Record};
pub use counts::Figures;
pub use error::ResolveError;
pub use resolver::Dns;
pub use settings::{Kind, Settings, SetupError};
