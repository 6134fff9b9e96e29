//! Time in four bytes, and the graces in it.

use super::LedgerOptions;
use crate::Micros;
use crate::clock::micros;

/// Milliseconds since a day before the ledger was made: lasts for 48 days.
pub(super) type Tick = u32;

/// The tick of what did not happen, or never will.
pub(super) const NEVER: Tick = Tick::MAX;

/// Ticks a second.
pub(super) const SECOND: Tick = 1_000;

/// How far times may lie before the ledger was made.
const BEFORE: Micros = 86_400_000_000;

/// The graces, and where ticks begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    start: Micros,
    /// See [`super::Graces::ack`].
    pub(super) ack: Tick,
    /// See [`super::Graces::late`].
    pub(super) late: Tick,
    /// See [`super::Graces::back`].
    pub(super) back: Tick,
    /// See [`super::Graces::broadcast`].
    pub(super) broadcast: Micros,
}

impl Rules {
    pub(super) fn new(options: &LedgerOptions) -> Rules {
        let ticks = |grace: std::time::Duration| {
            Tick::try_from(grace.as_millis()).unwrap_or(NEVER / 4).min(NEVER / 4)
        };
        Rules {
            start: options.clock.now().saturating_sub(BEFORE),
            ack: ticks(options.graces.ack),
            late: ticks(options.graces.late),
            back: ticks(options.graces.back),
            broadcast: micros(options.graces.broadcast),
        }
    }

    /// A time as a tick, rounded down; never [`NEVER`].
    pub(super) fn tick(&self, at: Micros) -> Tick {
        (at.saturating_sub(self.start) / 1_000).min(Micros::from(NEVER - 1)) as Tick
    }
}
