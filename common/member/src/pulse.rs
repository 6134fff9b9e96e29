//! Whether the node is at work: the lease has a thread of its own, which goes on even if nothing else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::shared::Shared;

/// How often the node's own tasks show that they have their turn.
const EVERY: Duration = Duration::from_secs(1);
/// Without a sign for this long the node serves nobody. An overloaded one is late by seconds.
const STANDSTILL: Duration = Duration::from_secs(30);

/// When the node has last shown a sign of life.
pub(crate) struct Pulse {
    begun: Instant,
    /// Milliseconds after that.
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Pulse {
        Pulse { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    /// As it is after a long silence.
    #[cfg(test)]
    pub(crate) fn silent_for(silence: Duration) -> Pulse {
        Pulse { begun: Instant::now().checked_sub(silence).unwrap(), last: AtomicU64::new(0) }
    }

    fn beat(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Whether there was no sign for too long.
    pub(crate) fn stands_still(&self) -> bool {
        // The last sign first: one that comes between the two looks must not be ahead of the time.
        let last = self.last.load(Ordering::Relaxed);
        self.now().saturating_sub(last) > STANDSTILL.as_millis() as u64
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

/// Beats from among the node's own tasks, until the member stops.
pub(crate) async fn beat(shared: Arc<Shared>) {
    let forever = async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            shared.pulse.beat();
        }
    };
    shared.stop.run_until_cancelled(forever).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_minute_without_a_sign_is_a_standstill() {
        let silent_for = |seconds| Pulse::silent_for(Duration::from_secs(seconds));
        assert!(!silent_for(29).stands_still(), "it is only late");
        let pulse = silent_for(31);
        assert!(pulse.stands_still());
        pulse.beat();
        assert!(!pulse.stands_still());
    }
}
