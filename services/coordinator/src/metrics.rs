use longline_types::Error;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// What the coordinator shows of itself.
#[derive(Clone)]
pub(crate) struct Metrics {
    uplinks: IntCounterVec,
    presence: IntCounterVec,
    kicks: IntCounterVec,
    tries: IntCounterVec,
    /// Time from the call to the end of the answer.
    pub(crate) webhook_seconds: Histogram,
    /// Callbacks too old for another try.
    pub(crate) given_up: IntCounter,
    /// Callbacks taken over from the store: due again, or left by a coordinator that died.
    pub(crate) claimed: IntCounter,
}

/// How a try to hand over a callback ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The business has it.
    Taken,
    /// The business does not want it.
    Gone,
    /// The business answered with another status.
    Refused,
    /// It did not answer in time.
    TimedOut,
    /// It could not be reached.
    Failed,
    /// The product is not known, or has no address for this now.
    NoRoute,
    /// It was not called: the product has its share of calls already.
    Busy,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Outcome::Taken => "taken",
            Outcome::Gone => "gone",
            Outcome::Refused => "refused",
            Outcome::TimedOut => "timed_out",
            Outcome::Failed => "failed",
            Outcome::NoRoute => "no_route",
            Outcome::Busy => "busy",
        }
    }
}

/// What became of a request to store a callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Intake {
    /// It is in the queue now.
    Stored,
    /// It was there already.
    Repeated,
    /// The product does not ask for it.
    NotWanted,
}

impl Intake {
    fn name(self) -> &'static str {
        match self {
            Intake::Stored => "stored",
            Intake::Repeated => "repeated",
            Intake::NotWanted => "not_wanted",
        }
    }
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let plain = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let webhook_seconds = Histogram::with_opts(
            HistogramOpts::new("longline_coordinator_webhook_seconds", "Time a business took to answer.")
                .buckets(vec![0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
        )?;
        registry.register(Box::new(webhook_seconds.clone()))?;
        Ok(Metrics {
            uplinks: counter(
                "longline_coordinator_uplinks_total",
                "Uplinks from rooms, by result.",
                "result",
            )?,
            presence: counter(
                "longline_coordinator_presence_total",
                "Presence from rooms, by result.",
                "result",
            )?,
            kicks: counter("longline_coordinator_kicks_total", "Kicks, by result.", "result")?,
            tries: counter("longline_coordinator_tries_total", "Tries to hand over a callback.", "outcome")?,
            webhook_seconds,
            given_up: plain("longline_coordinator_given_up_total", "Callbacks nobody took in time.")?,
            claimed: plain("longline_coordinator_claimed_total", "Callbacks claimed from the store.")?,
        })
    }

    pub(crate) fn uplink(&self, result: &Result<Intake, Error>) {
        self.uplinks.with_label_values(&[intake_name(result)]).inc();
    }

    pub(crate) fn presence(&self, result: &Result<Intake, Error>) {
        self.presence.with_label_values(&[intake_name(result)]).inc();
    }

    pub(crate) fn kick(&self, result: &Result<bool, Error>) {
        let name = match result {
            Ok(true) => "kicked",
            Ok(false) => "not_connected",
            Err(error) => error.code.name(),
        };
        self.kicks.with_label_values(&[name]).inc();
    }

    pub(crate) fn tried(&self, outcome: Outcome) {
        self.tries.with_label_values(&[outcome.name()]).inc();
    }
}

fn intake_name(result: &Result<Intake, Error>) -> &'static str {
    match result {
        Ok(intake) => intake.name(),
        Err(error) => error.code.name(),
    }
}
