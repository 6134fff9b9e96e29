use std::sync::Arc;

use longline_types::CloseReason;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::population::{NETWORKS, network_name};
use super::survival::{INTERVALS, interval_name};
use super::{Counters, Histogram, Kind, NUMBERS, NoResume, Outcome, ParkingEnd, State, Unqueued};
use crate::admission::Refusal;
use crate::link::ShardSender;
use crate::transport::TransportKind;

/// Shows the numbers of all shards of a room to Prometheus as `longline_room_…`.
pub(crate) struct Exporter {
    shards: Vec<Arc<Counters>>,
    queues: Vec<ShardSender>,
    descriptions: Vec<Desc>,
}

/// A metric with labels: name, help, labels, and what it shows.
type Labelled = (&'static str, &'static str, &'static [&'static str], fn(&Exporter) -> Vec<Row>);
/// Values of the labels, and the number.
type Row = (Vec<String>, u64);

const LABELLED: &[Labelled] = &[
    ("closes_total", "Connections closed, by reason.", &["reason"], Exporter::closes),
    (
        "unqueued_total",
        "Messages for which too much was unwritten, by what had too much and what became of the message.",
        &["full", "outcome"],
        Exporter::unqueued,
    ),
    ("refused_total", "Connections refused, by reason.", &["reason"], Exporter::refusals),
    (
        "resumes_refused_total",
        "Resume tokens that were of no use, by reason.",
        &["reason"],
        Exporter::resumes_refused,
    ),
    (
        "parkings_ended_total",
        "Parked sessions that ended without being resumed, by reason.",
        &["reason"],
        Exporter::parkings_ended,
    ),
    (
        "connections_by_state",
        "Connections now: greeting until HELLO, opening until WELCOME, open, leaving after CLOSE; and parked, without one.",
        &["transport", "state"],
        Exporter::states,
    ),
    (
        "sessions_by_network",
        "Open sessions now, by the network that the device says it is in.",
        &["transport", "network"],
        Exporter::networks,
    ),
    (
        "sessions_by_sdk",
        "Open sessions now, by SDK and version; at most 64 are told apart, the rest is `other`.",
        &["sdk"],
        Exporter::sdks,
    ),
    (
        "heartbeat_intervals_total",
        "Silences as long as the heartbeat interval, by what followed: something came, or the connection was broken.",
        &["network", "interval", "outcome"],
        Exporter::survival,
    ),
];
/// Name, help, and where it is.
type Timed = (&'static str, &'static str, fn(&Counters) -> &Histogram);

const HISTOGRAMS: &[Timed] = &[
    (
        "delivery_seconds",
        "From the receipt of a batch of deliveries until the bytes of its messages were handed to the sockets; once for each.",
        |shard| &shard.delivery,
    ),
    (
        "turn_seconds",
        "How long a turn of a shard's loop took, without the wait for something to do.",
        |shard| &shard.turn,
    ),
    ("wheel_lag_seconds", "How late timers fired, beyond the tick they were set for.", |shard| {
        &shard.wheel_lag
    }),
];
const QUEUES: &[(&str, &str)] = &[
    ("queued_deliveries", "Deliveries that wait for the shards."),
    ("queued_delivery_bytes", "Their bytes of payload."),
    ("queued_commands", "Commands that wait for the shards."),
];

impl Exporter {
    /// Of the shards, and the queues to them.
    pub(crate) fn new(shards: Vec<Arc<Counters>>, queues: Vec<ShardSender>) -> prometheus::Result<Exporter> {
        let numbers = NUMBERS.iter().map(|(kind, name, help, _)| (kind.full_name(name), *help, &[][..]));
        let labelled = LABELLED.iter().map(|(name, help, labels, _)| (full_name(name), *help, *labels));
        let histograms = HISTOGRAMS.iter().map(|(name, help, _)| (full_name(name), *help, &[][..]));
        let depths = QUEUES.iter().map(|(name, help)| (full_name(name), *help, &[][..]));
        let descriptions =
            numbers.chain(labelled).chain(histograms).chain(depths).map(|(name, help, labels)| {
                let labels = labels.iter().map(|label| (*label).to_owned()).collect();
                Desc::new(name, help.to_owned(), labels, Default::default())
            });
        Ok(Exporter { descriptions: descriptions.collect::<Result<_, _>>()?, shards, queues })
    }

    fn sum(&self, number: impl Fn(&Counters) -> u64) -> u64 {
        self.shards.iter().map(|shard| number(shard)).fold(0, u64::wrapping_add)
    }

    fn closes(&self) -> Vec<Row> {
        let row = |(place, reason): (usize, &CloseReason)| {
            (vec![reason.name().to_owned()], self.sum(|shard| shard.closes[place].read()))
        };
        CloseReason::ALL.iter().enumerate().map(row).collect()
    }

    fn refusals(&self) -> Vec<Row> {
        let row = |(place, refusal): (usize, &Refusal)| {
            (vec![refusal.name().to_owned()], self.sum(|shard| shard.refusals[place].read()))
        };
        Refusal::ALL.iter().enumerate().map(row).collect()
    }

    fn unqueued(&self) -> Vec<Row> {
        let row = |outcome: Unqueued| {
            let labels = outcome.names().map(str::to_owned).into();
            (labels, self.sum(|shard| shard.unqueued[outcome as usize].read()))
        };
        Unqueued::ALL.map(row).into()
    }

    fn resumes_refused(&self) -> Vec<Row> {
        let row = |why: NoResume| {
            (vec![why.name().to_owned()], self.sum(|shard| shard.resumes_refused[why as usize].read()))
        };
        NoResume::ALL.map(row).into()
    }

    fn parkings_ended(&self) -> Vec<Row> {
        let row = |end: ParkingEnd| {
            (vec![end.name().to_owned()], self.sum(|shard| shard.parkings_ended[end as usize].read()))
        };
        ParkingEnd::ALL.map(row).into()
    }

    fn states(&self) -> Vec<Row> {
        by_transport(State::ALL, |transport, state| {
            (state.name(), self.sum(|shard| shard.population.in_state(transport, state)))
        })
    }

    fn networks(&self) -> Vec<Row> {
        by_transport(0..NETWORKS.len(), |transport, network| {
            let sessions = self.sum(|shard| shard.population.in_network(transport, network));
            (network_name(NETWORKS[network]), sessions)
        })
    }

    /// All shards count in the same table.
    fn sdks(&self) -> Vec<Row> {
        let sdks = self.shards.first().map_or_else(Vec::new, |shard| shard.sdks.sessions());
        sdks.into_iter().map(|(sdk, sessions)| (vec![sdk], sessions)).collect()
    }

    /// Only networks and intervals that there are.
    fn survival(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (network, interval) in (0..NETWORKS.len()).flat_map(|n| (0..INTERVALS).map(move |i| (n, i))) {
            let count = |outcome| self.sum(|shard| shard.survival.read(network, interval, outcome));
            let counts = Outcome::ALL.map(|outcome| (outcome, count(outcome)));
            if counts.iter().any(|(_, count)| *count > 0) {
                rows.extend(counts.map(|(outcome, count)| {
                    let network = network_name(NETWORKS[network]).to_owned();
                    (vec![network, interval_name(interval), outcome.name().to_owned()], count)
                }));
            }
        }
        rows
    }

    fn queue_depths(&self) -> [u64; 3] {
        self.queues.iter().map(ShardSender::depth).fold([0; 3], |sum, depth| {
            [sum[0] + depth.deliveries as u64, sum[1] + depth.bytes as u64, sum[2] + depth.commands as u64]
        })
    }
}

impl Collector for Exporter {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        for (kind, name, help, number) in NUMBERS {
            let value = self.sum(|shard| number(shard).read());
            families.push(family(kind.full_name(name), help, *kind, [metric(*kind, &[], &[], value)]));
        }
        for (name, help, labels, rows) in LABELLED {
            let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            let metrics = rows(self).into_iter().map(|(values, value)| metric(kind, labels, &values, value));
            families.push(family(full_name(name), help, kind, metrics));
        }
        for ((name, help), depth) in QUEUES.iter().zip(self.queue_depths()) {
            families.push(family(full_name(name), help, Kind::Gauge, [metric(Kind::Gauge, &[], &[], depth)]));
        }
        for (name, help, histogram) in HISTOGRAMS {
            let mut metric = Metric::default();
            metric.set_histogram(Histogram::sum(self.shards.iter().map(|shard| histogram(shard))));
            let mut family = family(full_name(name), help, Kind::Gauge, [metric]);
            family.set_field_type(MetricType::HISTOGRAM);
            families.push(family);
        }
        families
    }
}

/// A row for each transport and each of these.
fn by_transport<T>(
    all: impl IntoIterator<Item = T> + Clone,
    count: impl Fn(TransportKind, T) -> (&'static str, u64),
) -> Vec<Row> {
    let rows = TransportKind::ALL.iter().flat_map(|transport| {
        all.clone().into_iter().map(|one| {
            let (name, number) = count(*transport, one);
            (vec![transport.name().to_owned(), name.to_owned()], number)
        })
    });
    rows.collect()
}

fn family(name: String, help: &str, kind: Kind, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(help.to_owned());
    family.set_field_type(match kind {
        Kind::Gauge => MetricType::GAUGE,
        Kind::Counter => MetricType::COUNTER,
    });
    family.set_metric(metrics.into_iter().collect());
    family
}

fn metric(kind: Kind, labels: &[&str], values: &[String], value: u64) -> Metric {
    let pairs = labels.iter().zip(values).map(|(label, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*label).to_owned());
        pair.set_value(value.clone());
        pair
    });
    let mut pairs: Vec<LabelPair> = pairs.collect();
    pairs.sort();
    let mut metric = Metric::from_label(pairs);
    match kind {
        Kind::Gauge => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value as f64);
            metric.set_gauge(gauge);
        }
        Kind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        }
    }
    metric
}

impl Kind {
    fn full_name(self, name: &str) -> String {
        full_name(name) + if self == Kind::Counter { "_total" } else { "" }
    }
}

fn full_name(name: &str) -> String {
    format!("longline_room_{name}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longline_pb::client::Network;
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::link::{Command, shard_queue};
    use crate::metrics::{Labels, Resident, Sdks};

    #[test]
    fn the_shards_are_added_up() {
        let sdks = Arc::new(Sdks::default());
        let shards = [(), ()].map(|()| Arc::new(Counters::new(Arc::clone(&sdks))));
        let queues = [(), ()].map(|()| shard_queue(10, 10, || {}));
        for shard in &shards {
            shard.pushes.add(2);
            shard.sessions.add(3);
            shard.sessions.sub(1);
            shard.closed(CloseReason::Kicked);
            shard.not_queued(Unqueued::SessionClosed);
            shard.resume_refused(NoResume::Used);
            shard.parking_ended(ParkingEnd::Expired);
            shard.delivery.observe(Duration::from_millis(2), 5);
            shard.population.came(Resident { state: State::Open, transport: TransportKind::Tcp });
            shard.population.opened(
                &mut Labels::default(),
                TransportKind::Tcp,
                Network::Network5g,
                "rust/0.1.0",
                &sdks,
            );
        }
        for (queue, _) in &queues {
            queue.command(Command::CheckAll).unwrap();
        }
        let exporter =
            Exporter::new(shards.to_vec(), queues.iter().map(|(sender, _)| sender.clone()).collect());
        let registry = Registry::new();
        registry.register(Box::new(exporter.unwrap())).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "# TYPE longline_room_pushes_total counter",
            "longline_room_pushes_total 4",
            "# TYPE longline_room_sessions gauge",
            "longline_room_sessions 4",
            "longline_room_closes_total{reason=\"kicked\"} 2",
            "longline_room_closes_total{reason=\"going_away\"} 0",
            "longline_room_unqueued_total{full=\"session\",outcome=\"closed\"} 2",
            "longline_room_unqueued_total{full=\"shard\",outcome=\"dropped\"} 0",
            "longline_room_resumes_refused_total{reason=\"used\"} 2",
            "longline_room_parkings_ended_total{reason=\"expired\"} 2",
            "longline_room_parkings_ended_total{reason=\"evicted\"} 0",
            "longline_room_connections_by_state{state=\"open\",transport=\"tcp\"} 2",
            "longline_room_connections_by_state{state=\"leaving\",transport=\"tcp\"} 0",
            "longline_room_sessions_by_network{network=\"5g\",transport=\"tcp\"} 2",
            "longline_room_sessions_by_sdk{sdk=\"rust/0.1.0\"} 2",
            "longline_room_queued_commands 2",
            "# TYPE longline_room_delivery_seconds histogram",
            "longline_room_delivery_seconds_bucket{le=\"0.0015\"} 0",
            "longline_room_delivery_seconds_bucket{le=\"0.002\"} 10",
            "longline_room_delivery_seconds_bucket{le=\"+Inf\"} 10",
            "longline_room_delivery_seconds_sum 0.02",
            "longline_room_turn_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
