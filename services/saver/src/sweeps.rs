//! What time asks for: expiry and the end of retention, in small steps, so that requests get their turn between them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use longline_types::{Error, MessageState};
use rand::RngExt;

use crate::config::{SweepConfig, millis};
use crate::metrics::{Metrics, Operation};
use crate::store::Store;

pub(crate) struct Sweeps<S> {
    pub(crate) store: Arc<S>,
    pub(crate) config: SweepConfig,
    pub(crate) metrics: Metrics,
}

impl<S: Store> Sweeps<S> {
    /// Sweeps for ever. Several savers may do so at the same time: what one ends, the other does not find.
    pub(crate) async fn run(self) {
        tokio::join!(self.expire_for_ever(), self.purge_for_ever());
    }

    async fn expire_for_ever(&self) {
        loop {
            sleep_about(millis(self.config.expiry_every_ms)).await;
            self.report(Operation::Expire, self.expire().await);
        }
    }

    async fn purge_for_ever(&self) {
        loop {
            sleep_about(millis(self.config.purge_every_ms)).await;
            self.report(Operation::Purge, self.purge().await);
        }
    }

    async fn expire(&self) -> Result<(), Error> {
        let step = self.config.step;
        loop {
            let ended = self.timed(Operation::Expire, self.store.expire(step)).await?;
            self.metrics.ended(MessageState::Expired, ended);
            if ended < step.into() {
                break;
            }
        }
        while self.timed(Operation::Expire, self.store.expire_broadcasts(step)).await? >= step.into() {}
        Ok(())
    }

    async fn purge(&self) -> Result<(), Error> {
        let SweepConfig { retention_s, step, .. } = self.config;
        loop {
            let removed = self.timed(Operation::Purge, self.store.purge(retention_s, step)).await?;
            self.metrics.purged.inc_by(removed);
            if removed < step.into() {
                return Ok(());
            }
        }
    }

    async fn timed<T>(&self, operation: Operation, step: impl Future<Output = T>) -> T {
        let _timer = self.metrics.call(operation);
        step.await
    }

    fn report(&self, operation: Operation, result: Result<(), Error>) {
        if let Err(error) = result {
            self.metrics.failed(operation, &error);
            tracing::warn!(%error, ?operation, "a sweep failed; the next one goes on");
        }
    }
}

/// Savers that started together do not stay together.
async fn sleep_about(pause: Duration) {
    let share = rand::rng().random_range(0.5..1.0);
    tokio::time::sleep(pause.mul_f64(share)).await;
}
