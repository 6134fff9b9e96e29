//! What the server has done so far, readable from outside.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of a server, brought up to date in each of its turns, at least every 50 ms.
#[derive(Default, Debug)]
pub struct Stats {
    sessions: AtomicU64,
    deliveries: AtomicU64,
    broadcasts: AtomicU64,
    absent: AtomicU64,
    acks: AtomicU64,
    uplinks: AtomicU64,
    unread: AtomicU64,
}

impl Stats {
    /// Sessions that are open now.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Relaxed)
    }

    /// Unicasts that were handed to a session.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Relaxed)
    }

    /// Messages of broadcasts that were handed to a session.
    pub fn broadcast_deliveries(&self) -> u64 {
        self.broadcasts.load(Relaxed)
    }

    /// Unicasts that were dropped since their user was not connected.
    pub fn absent(&self) -> u64 {
        self.absent.load(Relaxed)
    }

    /// Ids that devices have acknowledged.
    pub fn acks(&self) -> u64 {
        self.acks.load(Relaxed)
    }

    /// Uplinks that were answered.
    pub fn uplinks(&self) -> u64 {
        self.uplinks.load(Relaxed)
    }

    /// Bytes that devices have left unread and that wait here now.
    pub fn unread_bytes(&self) -> u64 {
        self.unread.load(Relaxed)
    }

    pub(crate) fn publish(&self, tally: &Tally) {
        self.sessions.store(tally.sessions, Relaxed);
        self.deliveries.store(tally.deliveries, Relaxed);
        self.broadcasts.store(tally.broadcasts, Relaxed);
        self.absent.store(tally.absent, Relaxed);
        self.acks.store(tally.acks, Relaxed);
        self.uplinks.store(tally.uplinks, Relaxed);
        self.unread.store(tally.unread, Relaxed);
    }
}

/// The server's own copy, without atomics.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sessions: u64,
    pub(crate) deliveries: u64,
    pub(crate) broadcasts: u64,
    pub(crate) absent: u64,
    pub(crate) acks: u64,
    pub(crate) uplinks: u64,
    pub(crate) unread: u64,
}
