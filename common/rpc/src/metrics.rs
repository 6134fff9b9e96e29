use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// What the pipelines of one service count, by method.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) batch_items: HistogramVec,
    pub(crate) in_flight: IntGaugeVec,
    pub(crate) failures: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics; a registry that has them already keeps the first ones.
    pub(crate) fn new(registry: &Registry) -> Metrics {
        let buckets = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
        let batch = HistogramOpts::new("longline_rpc_batch_items", "Items of a batch sent.").buckets(buckets);
        let metrics = Metrics {
            batch_items: HistogramVec::new(batch, &["method"]).expect("a valid metric"),
            in_flight: IntGaugeVec::new(
                Opts::new("longline_rpc_in_flight_items", "Requests accepted by a pipeline and not answered yet."),
                &["method"],
            )
            .expect("a valid metric"),
            failures: IntCounterVec::new(
                Opts::new(
                    "longline_rpc_failures_total",
                    "Requests that ended without a reply: refused (the pipeline is full), not sent, unknown (the stream died), late.",
                ),
                &["method", "reason"],
            )
            .expect("a valid metric"),
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 3] = [
            Box::new(metrics.batch_items.clone()),
            Box::new(metrics.in_flight.clone()),
            Box::new(metrics.failures.clone()),
        ];
        for collector in collectors {
            if let Err(error) = registry.register(collector) {
                tracing::debug!(%error, "pipeline metrics are not exported a second time");
            }
        }
        metrics
    }
}

/// The metrics of one method, resolved once.
#[derive(Clone)]
pub(crate) struct MethodMetrics {
    pub(crate) batch_items: prometheus::Histogram,
    pub(crate) in_flight: prometheus::IntGauge,
    pub(crate) refused: prometheus::IntCounter,
    pub(crate) not_sent: prometheus::IntCounter,
    pub(crate) unknown: prometheus::IntCounter,
    pub(crate) late: prometheus::IntCounter,
}

impl MethodMetrics {
    pub(crate) fn new(metrics: &Metrics, method: &str) -> MethodMetrics {
        let failures = |reason| metrics.failures.with_label_values(&[method, reason]);
        MethodMetrics {
            batch_items: metrics.batch_items.with_label_values(&[method]),
            in_flight: metrics.in_flight.with_label_values(&[method]),
            refused: failures("refused"),
            not_sent: failures("not_sent"),
            unknown: failures("unknown"),
            late: failures("late"),
        }
    }
}
