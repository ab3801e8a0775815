//! Load balancing as in Kong: upstreams, their targets' addresses, the algorithms, and the health of every address.
//! Pure: no IO and no clock; the caller resolves names, probes, and says what time it is.

mod address;
mod algorithm;
mod balancer;
mod beyond;
mod breaker;
mod budget;
mod consistent_hashing;
mod hash_value;
pub mod health;
mod latency;
mod least_connections;
mod outliers;
mod round_robin;
mod sessions;
mod settings;
mod states;
mod tiers;
mod tournament;

#[cfg(test)]
mod tests;

pub use address::{Address, AddressId, AddressState, Member, Record, Resolution, ResolvedTarget, host_and_port};
pub use balancer::{Balancer, Ended, NoHealthchecker, Pick, PickError, Turn, Which};
pub use beyond::{Beyond, BreakerLimits, BudgetLimits, OutlierLimits, Sticky};
pub use breaker::{Breaker, BreakerState, CircuitOpen};
pub use budget::Budget;
pub use hash_value::{HashValue, Inputs, NewCookie, hash_of_value};
pub use outliers::Fault;
pub use settings::{AlgorithmKind, Checks, HashOn, Limits, Settings, Statuses};
pub use states::{KEPT, States, UpstreamState};
