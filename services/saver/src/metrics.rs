//! What the saver shows of its work.

use std::time::Instant;

use longline_types::{Error, MessageState};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, exponential_buckets,
};

/// The operations that are measured, and their names in the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Put,
    Load,
    Check,
    Ack,
    PutUplink,
    /// Any of the rare, unary calls.
    Rare,
    Expire,
    Purge,
    Products,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Load => "load",
            Operation::Check => "check",
            Operation::Ack => "ack",
            Operation::PutUplink => "put_uplink",
            Operation::Rare => "rare",
            Operation::Expire => "expire",
            Operation::Purge => "purge",
            Operation::Products => "products",
        }
    }
}

#[derive(Clone)]
pub(crate) struct Metrics {
    /// Messages stored for the first time.
    pub(crate) stored: IntCounter,
    /// Puts that an earlier try had stored.
    pub(crate) repeated: IntCounter,
    ended: IntCounterVec,
    /// Messages and broadcasts that loads brought.
    pub(crate) loaded: IntCounter,
    /// Acknowledgements of broadcasts that were news.
    pub(crate) broadcast_acks: IntCounter,
    /// Acknowledgements that ended nothing: repeats, and foreign ids.
    pub(crate) idle_acks: IntCounter,
    /// Records that retention removed.
    pub(crate) purged: IntCounter,
    failed: IntCounterVec,
    batch_items: HistogramVec,
    store_seconds: HistogramVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Metrics> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("longline_saver_{name}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let ended = Opts::new("longline_saver_ended_total", "Messages that this saver ended, by reason.");
        let ended = IntCounterVec::new(ended, &["reason"])?;
        let failed =
            Opts::new("longline_saver_failed_total", "Requests that failed, by operation and error.");
        let failed = IntCounterVec::new(failed, &["operation", "code"])?;
        let batch_items =
            HistogramOpts::new("longline_saver_batch_items", "Requests per batch, by operation.")
                .buckets(exponential_buckets(1.0, 2.0, 9)?);
        let batch_items = HistogramVec::new(batch_items, &["operation"])?;
        let seconds = HistogramOpts::new("longline_saver_store_seconds", "Time in the store, by operation.")
            .buckets(exponential_buckets(0.000_1, 2.5, 12)?);
        let store_seconds = HistogramVec::new(seconds, &["operation"])?;
        registry.register(Box::new(ended.clone()))?;
        registry.register(Box::new(failed.clone()))?;
        registry.register(Box::new(batch_items.clone()))?;
        registry.register(Box::new(store_seconds.clone()))?;
        Ok(Metrics {
            stored: counter("stored", "Messages stored for the first time.")?,
            repeated: counter("repeated", "Puts that an earlier try had stored.")?,
            ended,
            loaded: counter("loaded", "Messages and broadcasts that loads brought.")?,
            broadcast_acks: counter("broadcast_acks", "Broadcasts that addresses acknowledged.")?,
            idle_acks: counter("idle_acks", "Acknowledgements that ended nothing: repeats and foreign ids.")?,
            purged: counter("purged", "Records that retention removed.")?,
            failed,
            batch_items,
            store_seconds,
        })
    }

    /// Counts messages that ended for this reason.
    pub(crate) fn ended(&self, reason: MessageState, count: u64) {
        if count > 0 {
            self.ended.with_label_values(&[reason.name()]).inc_by(count);
        }
    }

    /// Counts a request that failed.
    pub(crate) fn failed(&self, operation: Operation, error: &Error) {
        self.failed.with_label_values(&[operation.name(), error.code.name()]).inc();
    }

    /// A batch goes to the store; its time is taken when the guard is dropped.
    pub(crate) fn batch(&self, operation: Operation, items: usize) -> Timer {
        self.batch_items.with_label_values(&[operation.name()]).observe(items as f64);
        self.call(operation)
    }

    /// A call goes to the store; its time is taken when the guard is dropped.
    pub(crate) fn call(&self, operation: Operation) -> Timer {
        let seconds = self.store_seconds.with_label_values(&[operation.name()]);
        Timer { seconds, began: Instant::now() }
    }
}

pub(crate) struct Timer {
    seconds: Histogram,
    began: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}
