use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

/// What the links count.
pub(crate) struct Metrics {
    pub(crate) lane_refused: IntCounterVec,
    pub(crate) binds: IntCounterVec,
    pub(crate) route_operations: IntGauge,
    pub(crate) unbinds_given_up: IntCounter,
    pub(crate) refills: IntCounter,
    pub(crate) presence_lost: IntCounter,
    pub(crate) incarnations: IntCounter,
    pub(crate) draining: IntGauge,
    pub(crate) tickets_issued: IntCounter,
    pub(crate) tickets_shown: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Metrics {
        Metrics {
            lane_refused: counters(
                registry,
                "longline_room_link_refused_total",
                "Questions of shards answered as failed since too many of their kind were under way.",
                "kind",
            ),
            binds: counters(
                registry,
                "longline_room_binds_decided_total",
                "Binds by their result.",
                "result",
            ),
            route_operations: register(
                registry,
                IntGauge::new(
                    "longline_room_route_operations",
                    "Register operations that wait or are under way.",
                ),
            ),
            unbinds_given_up: counter(
                registry,
                "longline_room_unbinds_given_up_total",
                "Unbinds that no register confirmed in time; the stale route is removed when a message meets it.",
            ),
            refills: counter(registry, "longline_room_refills_total", "Refills of slots sent to registers."),
            presence_lost: counter(
                registry,
                "longline_room_presence_lost_total",
                "Presence changes that no coordinator took.",
            ),
            incarnations: counter(
                registry,
                "longline_room_incarnations_total",
                "Times the room had to join anew after a lost lease.",
            ),
            draining: register(
                registry,
                IntGauge::new(
                    "longline_room_draining",
                    "1 while the room is emptied or kept empty: it stops, is drained, or is isolated.",
                ),
            ),
            tickets_issued: counter(
                registry,
                "longline_room_tickets_issued_total",
                "Admission tickets given to sessions that were sent away.",
            ),
            tickets_shown: counters(
                registry,
                "longline_room_tickets_shown_total",
                "Binds for which a ticket was shown instead of a token, by whether it was accepted or why not.",
                "result",
            ),
        }
    }
}

/// Names and labels of all of them.
#[cfg(test)]
pub(crate) fn metric_descriptions(registry: &Registry) -> Vec<prometheus::core::Desc> {
    let metrics = Metrics::new(registry);
    let Metrics {
        lane_refused,
        binds,
        route_operations,
        unbinds_given_up,
        refills,
        presence_lost,
        incarnations,
        draining,
        tickets_issued,
        tickets_shown,
    } = &metrics;
    let collectors: [&dyn Collector; 10] = [
        lane_refused,
        binds,
        route_operations,
        unbinds_given_up,
        refills,
        presence_lost,
        incarnations,
        draining,
        tickets_issued,
        tickets_shown,
    ];
    collectors.into_iter().flat_map(Collector::desc).cloned().collect()
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), &[label]))
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("the name and labels are valid");
    if let Err(error) = registry.register(Box::new(metric.clone())) {
        tracing::error!(%error, "a metric of the links is not exported");
    }
    metric
}
