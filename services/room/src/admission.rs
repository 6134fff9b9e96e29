//! Who may connect, and how fast: lists of networks and limits per address, for all shards of a room, changed while it runs.
//!
//! A connection is looked at when it is accepted, before anything is spent on it. A change is also applied to the connections that
//! are there: those whose address may no longer connect are closed, and those that were not counted are.

mod bucket;
mod callers;
mod follow;
mod gate;
mod limits;
mod memory;
mod networks;
mod refusal;
mod storm;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use bucket::Bucket;
use callers::Callers;
pub use follow::KEY;
#[cfg(test)]
pub(crate) use follow::metric_descriptions;
pub(crate) use follow::{Documents, follow};
pub(crate) use gate::{Gate, Passed};
pub use limits::{AdmissionConfig, BadAdmission};
pub(crate) use memory::{Buffers, Memory};
pub use networks::Networks;
pub(crate) use refusal::Refusal;
pub(crate) use storm::Storm;

/// Callers remembered beyond one for each connection that the room may hold: those who came a moment ago and have gone.
const GONE_CALLERS: usize = 65_536;

/// What the shards of a room share of it.
pub(crate) struct Admission {
    /// As the configuration file has them.
    own: AdmissionConfig,
    limits: ArcSwap<AdmissionConfig>,
    /// Counts the changes of `limits`.
    changes: AtomicU64,
    callers: Callers,
    started: Instant,
    /// The memory budget where none is set.
    budget: u64,
}

impl Admission {
    /// For a room that holds at most this many connections.
    pub(crate) fn new(own: AdmissionConfig, connections: u32) -> Admission {
        let budget = memory::budget();
        Admission {
            limits: ArcSwap::from_pointee(own.clone().with_budget(budget)),
            own,
            budget,
            changes: AtomicU64::new(1),
            callers: Callers::new(connections as usize + GONE_CALLERS),
            started: Instant::now(),
        }
    }

    /// From when the room's shards count their time.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Microseconds since then.
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// What is in force now.
    pub(crate) fn limits(&self) -> Arc<AdmissionConfig> {
        self.limits.load_full()
    }

    /// Puts limits in force.
    pub(crate) fn change(&self, limits: AdmissionConfig) {
        let limits = limits.with_budget(self.budget);
        if **self.limits.load() != limits {
            self.limits.store(Arc::new(limits));
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Forgets the addresses of which nothing has to be remembered any more.
    fn forget_callers(&self) {
        self.callers.forget(self.now_us());
    }

    /// Addresses whose connections are counted.
    fn callers(&self) -> usize {
        self.callers.len()
    }

    /// What the configuration file says, with what the document says in place of it; without a document the file alone.
    pub(crate) fn merged(&self, document: Option<&str>) -> Result<AdmissionConfig, BadAdmission> {
        document.map_or_else(|| Ok(self.own.clone()), |document| self.own.with(document))
    }
}
