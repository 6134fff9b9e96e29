use longline_types::Error;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::dispatch::Group;
use crate::failures::Report;

/// What the dispatcher shows of itself.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    reports: IntCounterVec,
    /// Rooms that take sessions, as last looked at.
    pub(crate) rooms: IntGauge,
    /// Client addresses that the rate limit remembers.
    pub(crate) clients: IntGauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), &["result"])?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Metrics {
            requests: counter("longline_dispatcher_requests_total", "Questions for rooms, by result.")?,
            reports: counter("longline_dispatcher_failure_reports_total", "Rooms reported as failed.")?,
            rooms: gauge("longline_dispatcher_rooms", "Rooms that take sessions.")?,
            clients: gauge("longline_dispatcher_clients", "Client addresses that the rate limit remembers.")?,
        })
    }

    pub(crate) fn asked(&self, result: &Result<Group, Error>) {
        let name = match result {
            Ok(_) => "ok",
            Err(error) => error.code.name(),
        };
        self.requests.with_label_values(&[name]).inc();
    }

    /// None: no room of ours.
    pub(crate) fn reported(&self, report: Option<Report>) {
        let name = match report {
            Some(Report::Counted) => "counted",
            Some(Report::Repeated) => "repeated",
            Some(Report::TooMany) => "too_many",
            None => "unknown_room",
        };
        self.reports.with_label_values(&[name]).inc();
    }
}
