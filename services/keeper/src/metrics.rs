use longline_types::{Node, Role};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// What the keeper counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    nodes: IntGaugeVec,
    /// Number of the current view.
    pub(crate) view: IntGauge,
    /// Registrations given.
    pub(crate) registrations: IntCounter,
    /// Leases that ran out.
    pub(crate) run_out: IntCounter,
    /// Requests refused since too many waited.
    pub(crate) refused: IntCounter,
    /// Duration of commits to disk.
    pub(crate) commit: Histogram,
    /// Open watches of the view and of the configuration.
    pub(crate) watches: IntGauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let metrics = Metrics {
            nodes: IntGaugeVec::new(Opts::new("longline_keeper_nodes", "Live nodes."), &["role"])?,
            view: IntGauge::new("longline_keeper_view_number", "Number of the current view.")?,
            registrations: IntCounter::new(
                "longline_keeper_registrations_total",
                "Registrations given to nodes.",
            )?,
            run_out: IntCounter::new(
                "longline_keeper_leases_run_out_total",
                "Nodes whose lease ran out without their leaving.",
            )?,
            refused: IntCounter::new(
                "longline_keeper_requests_refused_total",
                "Requests refused because too many were waiting.",
            )?,
            commit: Histogram::with_opts(
                HistogramOpts::new("longline_keeper_commit_seconds", "Duration of commits to disk.")
                    .buckets(prometheus::exponential_buckets(0.0005, 2.0, 14)?),
            )?,
            watches: IntGauge::new(
                "longline_keeper_watches",
                "Open watches of the view and of the configuration.",
            )?,
        };
        registry.register(Box::new(metrics.nodes.clone()))?;
        registry.register(Box::new(metrics.view.clone()))?;
        registry.register(Box::new(metrics.registrations.clone()))?;
        registry.register(Box::new(metrics.run_out.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.commit.clone()))?;
        registry.register(Box::new(metrics.watches.clone()))?;
        Ok(metrics)
    }

    /// Counts the nodes of a new view.
    pub(crate) fn count<'a>(&self, nodes: impl Iterator<Item = &'a Node> + Clone) {
        for role in Role::ALL {
            let count = nodes.clone().filter(|n| n.role == role).count();
            self.nodes.with_label_values(&[role.name()]).set(count as i64);
        }
    }
}
