use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result,
};

/// What a center counts. Clones share the counters.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Answers by route (or gRPC method) and status (or gRPC code).
    pub(crate) requests: IntCounterVec,
    /// Time to the answer, by route.
    pub(crate) request_seconds: HistogramVec,
    /// HTTP requests refused since too many were being handled.
    pub(crate) overloaded: IntCounter,
    /// Messages accepted, by class; a repeated request does not count.
    pub(crate) accepted: IntCounterVec,
    /// Messages not accepted, by error.
    pub(crate) refused: IntCounterVec,
    /// Time of a put, retries included.
    pub(crate) put_seconds: Histogram,
    /// What became of hints, by result.
    pub(crate) hints: IntCounterVec,
    /// Hints that wait or are on their way.
    pub(crate) hints_queued: IntGauge,
    /// Broadcasts that this center drives now.
    pub(crate) broadcasts_driven: IntGauge,
    /// Broadcasts by event: accepted, claimed, finished, lost.
    pub(crate) broadcasts: IntCounterVec,
}

impl Metrics {
    /// Registers all of them. Fails if the registry has them already.
    pub(crate) fn new(registry: &Registry) -> Result<Metrics> {
        let seconds = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
        let histogram = |name, help| HistogramOpts::new(name, help).buckets(seconds.clone());
        Ok(Metrics {
            requests: added(
                registry,
                counters(
                    "longline_center_requests_total",
                    "Requests answered, by route and status.",
                    &["route", "status"],
                )?,
            )?,
            request_seconds: added(
                registry,
                HistogramVec::new(
                    histogram("longline_center_request_seconds", "Time to the answer."),
                    &["route"],
                )?,
            )?,
            overloaded: added(
                registry,
                IntCounter::new(
                    "longline_center_requests_overloaded_total",
                    "HTTP requests refused at the bound.",
                )?,
            )?,
            accepted: added(
                registry,
                counters("longline_center_messages_accepted_total", "Messages accepted.", &["class"])?,
            )?,
            refused: added(
                registry,
                counters(
                    "longline_center_messages_refused_total",
                    "Messages of valid requests not accepted.",
                    &["code"],
                )?,
            )?,
            put_seconds: added(
                registry,
                Histogram::with_opts(histogram(
                    "longline_center_put_seconds",
                    "Time to store, retries included.",
                ))?,
            )?,
            hints: added(
                registry,
                counters("longline_center_hints_total", "What became of hints.", &["result"])?,
            )?,
            hints_queued: added(
                registry,
                IntGauge::new("longline_center_hints_queued", "Hints waiting or on their way.")?,
            )?,
            broadcasts_driven: added(
                registry,
                IntGauge::new("longline_center_broadcasts_driven", "Broadcasts driven here now.")?,
            )?,
            broadcasts: added(
                registry,
                counters("longline_center_broadcasts_total", "Broadcasts by event.", &["event"])?,
            )?,
        })
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn added<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
