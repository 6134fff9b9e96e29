use prometheus::{IntCounter, IntGauge, Opts, Registry};

/// What a pool shows of itself; the label `pool` is its name.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) depth: IntGauge,
    pub(crate) done: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) panicked: IntCounter,
    pub(crate) abandoned: IntCounter,
}

impl Metrics {
    pub(crate) fn register(pool: &str, registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::with_opts(Opts::new(name, help).const_label("pool", pool))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let depth = IntGauge::with_opts(
            Opts::new("longline_pool_depth", "Jobs that wait in the pool's queue.").const_label("pool", pool),
        )?;
        registry.register(Box::new(depth.clone()))?;
        Ok(Metrics {
            depth,
            done: counter("longline_pool_done_total", "Jobs handed to a worker that came back.")?,
            refused: counter("longline_pool_refused_total", "Jobs refused because the queue was full.")?,
            panicked: counter("longline_pool_panics_total", "Batches that ended in a panic.")?,
            abandoned: counter("longline_pool_abandoned_total", "Jobs left undone by a stop.")?,
        })
    }
}
