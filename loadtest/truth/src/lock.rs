//! Locks of plain data.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock. What it guards is counted data; a panic elsewhere does not make it unusable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
