//! What a leg looked like over time, and its sums.

use std::collections::BTreeMap;

use longline_load_results::{Distribution, Latencies, Leg, Percentiles, Sample};
use longline_load_swarm::SwarmCounts;
use longline_load_truth::{self as truth, histogram};
use tokio::time::Instant;

use super::findings::Findings;
use super::fleet::{Fleet, News};
use super::sides::UnderLoad;

/// Grows with every tick.
pub(crate) struct Series {
    begun: Instant,
    started_ms: u64,
    samples: Vec<Sample>,
    latencies: truth::Latencies,
    connects: hdrhistogram::Histogram<u64>,
}

impl Series {
    /// The leg starts now; the first sample is taken at once.
    pub(crate) fn start() -> Series {
        Series {
            begun: Instant::now(),
            started_ms: truth::Clock::new().now() / 1000,
            samples: Vec::new(),
            latencies: truth::Latencies::default(),
            connects: histogram(),
        }
    }

    /// Seconds since the start of the leg.
    pub(crate) fn now_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// The last sample.
    pub(crate) fn last(&self) -> Option<&Sample> {
        self.samples.last()
    }

    /// What failed most often until now, with its count.
    pub(crate) fn worst(fleet: &Fleet) -> Option<(String, u64)> {
        let (_, devices, refused) = sums(fleet);
        errors(&devices, refused).into_iter().max_by_key(|(_, count)| *count)
    }

    /// Takes a sample; `news` is what came since the one before.
    pub(crate) fn tick(&mut self, fleet: &Fleet, under_load: &mut UnderLoad, news: News) {
        self.latencies.add(&news.latencies);
        self.connects.add(&news.connects).expect("all histograms have the same bounds");
        let (messages, devices, refused) = sums(fleet);
        let failures: u64 = devices.failures.values().sum();
        let losses: u64 = devices.losses.values().sum();
        let all = &news.latencies.all;
        self.samples.push(Sample {
            at_s: self.now_s(),
            connected: devices.connected,
            connects: devices.bound,
            resumed: devices.resumed,
            connect_failures: failures + devices.refused,
            planned: messages.planned,
            accepted: messages.accepted,
            received: messages.received,
            acked: messages.acked,
            broadcast_deliveries: messages.broadcast_received,
            uplinks: devices.uplinks_acked,
            errors: failures + losses + devices.refused + refused.values().sum::<u64>(),
            accepted_us: Percentiles::of(&all.accepted),
            received_us: Percentiles::of(&all.received),
            acked_us: Percentiles::of(&all.acked),
            processes: under_load.processes(fleet),
            metrics: under_load.metrics(),
        });
    }

    /// The leg's record, without its phases.
    pub(crate) fn into_leg(self, fleet: &Fleet, findings: &Findings) -> Leg {
        let (_, devices, refused) = sums(fleet);
        let mut closes = devices.closes.clone();
        closes.extend(named("lost", &devices.losses));
        let errors = errors(&devices, refused);
        let connect = Distribution::of(&self.connects);
        Leg {
            started_ms: self.started_ms,
            series: self.samples,
            counts: findings.counts(),
            uplinks: findings.uplinks(),
            latency: Latencies { connect, ..spans(&self.latencies.all) },
            measured: spans(&self.latencies.measured),
            closes,
            errors,
            ..Leg::default()
        }
    }
}

/// Sums over all agents; of dead ones, what they told last.
fn sums(fleet: &Fleet) -> (truth::Counts, SwarmCounts, BTreeMap<String, u64>) {
    let (mut messages, mut devices) = (truth::Counts::default(), SwarmCounts::default());
    let mut refused = BTreeMap::<String, u64>::new();
    for agent in fleet.agents() {
        let Some(sample) = &agent.latest else { continue };
        messages += sample.messages;
        let (connected, connecting) = (devices.connected, devices.connecting);
        devices += &sample.devices;
        if agent.dead.is_some() {
            (devices.connected, devices.connecting) = (connected, connecting);
        }
        let reasons = [
            ("no room", &sample.unrouted),
            ("refused", &sample.traffic.refused),
            ("no answer", &sample.traffic.unknown),
        ];
        for (prefix, counts) in reasons {
            for (name, count) in counts {
                *refused.entry(format!("{prefix}: {name}")).or_default() += count;
            }
        }
        if sample.traffic.skipped > 0 {
            *refused.entry("not sent: too far behind".to_owned()).or_default() += sample.traffic.skipped;
        }
    }
    (messages, devices, refused)
}

/// What failed, by kind.
fn errors(devices: &SwarmCounts, refused: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut errors: BTreeMap<String, u64> = named("connect", &devices.failures).collect();
    errors.extend(refused);
    errors.extend((devices.refused > 0).then_some(("bind refused".to_owned(), devices.refused)));
    errors
}

fn named<'a>(
    prefix: &'a str,
    counts: &'a BTreeMap<String, u64>,
) -> impl Iterator<Item = (String, u64)> + use<'a> {
    counts.iter().map(move |(name, count)| (format!("{prefix} {name}"), *count))
}

fn spans(spans: &truth::Spans) -> Latencies {
    Latencies {
        accepted: Distribution::of(&spans.accepted),
        received: Distribution::of(&spans.received),
        acked: Distribution::of(&spans.acked),
        broadcast: Distribution::of(&spans.broadcast),
        connect: None,
    }
}
