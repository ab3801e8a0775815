//! What outlives a configuration: per upstream the position of its wheel and the state of every address, shared by all
//! threads. Only building a balancer takes the locks here; picking never does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::address::{Address, AddressState};
use crate::breaker::Breaker;
use crate::budget::Budget;

/// How long the state of an address that left is kept, for a target that comes back.
pub const KEPT: Duration = Duration::from_secs(300);

/// How long the first addresses of an upstream may take to be known.
const SETTLED: Duration = Duration::from_secs(10);

/// The states of all upstreams of this process.
#[derive(Debug, Default)]
pub struct States {
    upstreams: Mutex<HashMap<Uuid, Arc<UpstreamState>>>,
}

impl States {
    /// The state of one upstream; `seed` says where a new one's wheel starts, so that nodes do not all begin with the
    /// same target.
    pub fn upstream(&self, id: Uuid, seed: u64, now: Instant) -> Arc<UpstreamState> {
        let mut upstreams = lock(&self.upstreams);
        Arc::clone(upstreams.entry(id).or_insert_with(|| Arc::new(UpstreamState::new(seed, now))))
    }

    /// A deleted upstream leaves nothing behind for one of the same name or id that is made later.
    pub fn forget(&self, upstream: Uuid) {
        lock(&self.upstreams).remove(&upstream);
    }

    /// Drops what nothing has used for [`KEPT`]; to be called now and then.
    pub fn sweep(&self, now: Instant) {
        for upstream in lock(&self.upstreams).values() {
            upstream.sweep(now);
        }
    }
}

/// What one upstream keeps over all its configurations.
#[derive(Debug)]
pub struct UpstreamState {
    /// Changes whenever availability may have; each balancer compares it with what it has seen.
    pub(crate) generation: AtomicU64,
    /// The newest balancer's number: older ones tell it of their picks through `generation`.
    pub(crate) newest: AtomicU64,
    /// The position of the round-robin wheel.
    pub(crate) pointer: Pointer,
    /// Start of this upstream's time, for the latency scores.
    pub(crate) epoch: Instant,
    pub breaker: Breaker,
    pub budget: Budget,
    /// Milliseconds since the addresses were last compared.
    pub(crate) compared: AtomicU64,
    /// Held while an address is sent to rest, so that not too many are at once.
    pub(crate) resting: Mutex<()>,
    next_id: AtomicU64,
    addresses: Mutex<HashMap<Key, Known>>,
}

/// On a cache line of its own: every pick writes it, and every pick reads its neighbours.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Pointer(AtomicU64);

impl Pointer {
    pub(crate) fn advance(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

type Key = (SocketAddr, Arc<str>);

#[derive(Debug)]
struct Known {
    state: Arc<AddressState>,
    unused_since: Option<Instant>,
}

impl UpstreamState {
    fn new(seed: u64, now: Instant) -> Self {
        Self {
            generation: AtomicU64::new(1),
            newest: AtomicU64::new(0),
            pointer: Pointer(AtomicU64::new(seed)),
            epoch: now,
            breaker: Breaker::new(now),
            budget: Budget::default(),
            compared: AtomicU64::new(0),
            resting: Mutex::default(),
            next_id: AtomicU64::new(0),
            addresses: Mutex::default(),
        }
    }

    /// Whether its first addresses are still to come: names are resolved one after another.
    pub(crate) fn is_new(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.epoch) < SETTLED || lock(&self.addresses).is_empty()
    }

    /// The state of an address, and whether it is a new one.
    pub(crate) fn address(&self, address: &Address) -> (Arc<AddressState>, bool) {
        let mut addresses = lock(&self.addresses);
        let mut is_new = false;
        let known = addresses.entry((address.socket(), address.hostname.clone())).or_insert_with(|| {
            is_new = true;
            let state = Arc::new(AddressState::new(self.next_id.fetch_add(1, Ordering::Relaxed)));
            Known { state, unused_since: None }
        });
        // One that left long ago comes back like a new one.
        is_new |= known.unused_since.take().is_some();
        (Arc::clone(&known.state), is_new)
    }

    pub(crate) fn sweep(&self, now: Instant) {
        lock(&self.addresses).retain(|_, known| {
            if Arc::strong_count(&known.state) > 1 {
                known.unused_since = None;
                return true;
            }
            let since = *known.unused_since.get_or_insert(now);
            now.saturating_duration_since(since) < KEPT
        });
    }

    pub(crate) fn availability_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
