use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Metrics;

/// Groups of one kind of question that are under way at once.
const GROUPS: usize = 256;

/// The bound on one kind of question. Full, it refuses: the question is answered as failed, and the shard asks again later.
pub(crate) struct Lane {
    permits: Arc<Semaphore>,
    refused: prometheus::IntCounter,
}

impl Lane {
    pub(crate) fn new(name: &str, metrics: &Metrics) -> Lane {
        Lane {
            permits: Arc::new(Semaphore::new(GROUPS)),
            refused: metrics.lane_refused.with_label_values(&[name]),
        }
    }

    /// Room for one group of this many questions.
    pub(crate) fn enter(&self, questions: usize) -> Option<OwnedSemaphorePermit> {
        let permit = self.permits.clone().try_acquire_owned().ok();
        if permit.is_none() {
            self.refused.inc_by(questions as u64);
        }
        permit
    }
}
