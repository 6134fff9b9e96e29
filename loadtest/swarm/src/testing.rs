//! What several unit tests begin with.

use std::ops::Range;

use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions};

/// A ledger for these users.
pub(crate) fn ledger(users: Range<u32>, clock: Clock) -> Ledger {
    Ledger::new(LedgerOptions { run: 1, agent: 2, users, clock, graces: Graces::default() })
}
