use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::table::Census;

/// What a register counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    entries: IntGauge,
    owned: IntGauge,
    refilling: IntGauge,
    /// Binds that stand.
    pub(crate) bound: IntCounter,
    /// Binds of a device's earlier connection.
    pub(crate) stale: IntCounter,
    /// Lookups by what was found.
    pub(crate) hit: IntCounter,
    pub(crate) miss: IntCounter,
    pub(crate) unknown: IntCounter,
    /// Requests for slots of others, from rooms that have left, or from a view not seen yet.
    pub(crate) refused: IntCounter,
    /// Displacements not confirmed yet.
    pub(crate) displacing: IntGauge,
    /// Displacements by how they ended.
    pub(crate) displaced_told: IntCounter,
    pub(crate) displaced_left: IntCounter,
    pub(crate) displaced_dropped: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let by = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let binds = by("longline_register_binds_total", "Binds, by result.", "result")?;
        let lookups = by("longline_register_lookups_total", "Lookups, by result.", "result")?;
        let displaced = by(
            "longline_register_displacements_total",
            "Displaced sessions, by how telling their room ended.",
            "end",
        )?;
        let refused = IntCounter::new(
            "longline_register_refused_total",
            "Changes and lookups refused: another's slot, a room that has left, a view not seen yet.",
        )?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Metrics {
            entries: gauge("longline_register_entries", "Routes in memory.")?,
            owned: gauge("longline_register_slots_owned", "Slots this register owns.")?,
            refilling: gauge("longline_register_slots_refilling", "Slots owned and not filled yet.")?,
            bound: binds.with_label_values(&["bound"]),
            stale: binds.with_label_values(&["stale"]),
            hit: lookups.with_label_values(&["hit"]),
            miss: lookups.with_label_values(&["miss"]),
            unknown: lookups.with_label_values(&["unknown"]),
            refused,
            displacing: gauge(
                "longline_register_displacements_pending",
                "Displaced sessions not confirmed yet.",
            )?,
            displaced_told: displaced.with_label_values(&["confirmed"]),
            displaced_left: displaced.with_label_values(&["room_left"]),
            displaced_dropped: displaced.with_label_values(&["dropped"]),
        })
    }

    /// Shows the counts of the table.
    pub(crate) fn show(&self, census: Census) {
        self.entries.set(census.entries as i64);
        self.owned.set(census.owned as i64);
        self.refilling.set(census.refilling as i64);
    }
}
