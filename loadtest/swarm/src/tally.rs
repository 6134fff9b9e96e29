//! What a thread counts while it works, readable by others at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with one writer: no locked instruction is needed to raise it.
#[derive(Default, Debug)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
