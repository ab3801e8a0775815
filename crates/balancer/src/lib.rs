//! Load balancing as in Kong: upstreams, their targets' addresses, four algorithms, and the health of every address.
//! Pure: no IO and no clock; the caller resolves names, probes, and says what time it is.

mod address;
mod algorithm;
mod balancer;
mod consistent_hashing;
mod hash_value;
pub mod health;
mod latency;
mod least_connections;
mod round_robin;
mod settings;
mod states;
mod tournament;

#[cfg(test)]
mod tests;

pub use address::{Address, AddressId, AddressState, Member, Record, Resolution, ResolvedTarget, host_and_port};
pub use balancer::{Balancer, NoHealthchecker, Pick, PickError};
pub use hash_value::{HashValue, Inputs, NewCookie, hash_of_value, hash_value};
pub use settings::{AlgorithmKind, Checks, HashOn, Limits, Settings, Statuses};
pub use states::{KEPT, States, UpstreamState};
