//! How many messages of a closed loop are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use longline_load_truth::{Ledger, Micros};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::alarm::Time;

/// The bound, and what it bounds.
pub(crate) struct Window {
    limit: usize,
    what: What,
}

enum What {
    /// From plan to arrival, by the ledger. A message that was refused, expired or may not have been accepted leaves the
    /// window; a transient one when it is accepted, since it may be dropped.
    Received(Arc<Ledger>),
    /// From plan to acknowledgement, by the reference server.
    Acked(Arc<Flight>),
}

/// The ledger is asked so often while the window is full.
const POLL: Micros = 50;
/// The reference server sends nothing twice: after so long without an acknowledgement the missing ones are given up.
const GIVEN_UP: Duration = Duration::from_secs(2);

impl Window {
    /// At most so many between their plan and their arrival.
    pub(crate) fn received(limit: usize, ledger: Arc<Ledger>) -> Window {
        Window { limit, what: What::Received(ledger) }
    }

    /// At most so many between their plan and their acknowledgement.
    pub(crate) fn acked(limit: usize, flight: Arc<Flight>) -> Window {
        Window { limit, what: What::Acked(flight) }
    }

    /// Until so many more fit, or none is under way. Whoever plans tells [`Window::launch`] after.
    pub(crate) async fn room_for(&self, messages: usize, time: &mut impl Time) {
        match &self.what {
            What::Received(ledger) => {
                while !self.fits(ledger.under_way() as usize, messages) {
                    time.until(time.now() + POLL).await;
                }
            }
            What::Acked(flight) => {
                while !self.fits(flight.messages.load(Relaxed), messages) {
                    if timeout(GIVEN_UP, flight.landed.notified()).await.is_err() {
                        flight.messages.store(0, Relaxed);
                    }
                }
            }
        }
    }

    /// So many were planned.
    pub(crate) fn launch(&self, messages: usize) {
        if let What::Acked(flight) = &self.what {
            flight.messages.fetch_add(messages, Relaxed);
        }
    }

    fn fits(&self, under_way: usize, messages: usize) -> bool {
        under_way == 0 || under_way + messages <= self.limit
    }
}

/// Messages sent and not acknowledged.
#[derive(Default, Debug)]
pub(crate) struct Flight {
    messages: AtomicUsize,
    landed: Notify,
}

impl Flight {
    /// So many were acknowledged, or will never be.
    pub(crate) fn land(&self, messages: usize) {
        // Devices acknowledge broadcasts too, and what was given up.
        let less = |now: usize| Some(now.saturating_sub(messages));
        let _ = self.messages.fetch_update(Relaxed, Relaxed, less);
        self.landed.notify_one();
    }
}
