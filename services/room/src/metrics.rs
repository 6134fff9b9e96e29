//! What the shards count. Each shard has its own numbers; they are added up when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use longline_types::CloseReason;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::transport::TransportKind;

/// A number that one thread changes and others read.
#[derive(Default, Debug)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! numbers {
    ($( $kind:ident $name:ident: $help:literal, )*) => {
        /// The numbers of one shard.
        #[derive(Default, Debug)]
        pub(crate) struct Counters {
            $( #[doc = $help] pub(crate) $name: Number, )*
            closes: [Number; CloseReason::ALL.len()],
            transports: [Number; TransportKind::ALL.len()],
        }

        const NUMBERS: &[(Kind, &str, &str, fn(&Counters) -> &Number)] =
            &[ $( (Kind::$kind, stringify!($name), $help, |c| &c.$name), )* ];
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
}

numbers! {
    Gauge connections: "Connections now, whatever their state.",
    Gauge unauthenticated: "Connections now that have not sent a whole HELLO.",
    Gauge sessions: "Sessions now: connections that have said who they are.",
    Gauge binds: "Addresses bound now, or asked for.",
    Gauge backlog: "Questions to the cluster that wait in the shards.",
    Gauge load_line: "Binds that wait for their turn to load.",
    Gauge output_bytes: "Bytes not taken by the sockets yet.",
    Counter accepted: "Connections accepted.",
    Counter accept_failures: "Failures to accept, such as a lack of file descriptors.",
    Counter refused: "Connections refused since the room or a shard was full.",
    Counter hellos: "Valid HELLO frames.",
    Counter pushes: "Messages handed to sockets.",
    Counter deferred: "Delivered messages that are to be loaded instead of being pushed at once.",
    Counter not_here: "Delivered messages whose session was not here.",
    Counter dropped: "Transient messages dropped.",
    Counter unsendable: "Messages too large to be pushed.",
    Counter acks: "Messages acknowledged by devices.",
    Counter sent_away: "Sessions asked to reconnect to another room.",
    Counter foreign_acks: "Acknowledgements of ids that were not pushed on that bind.",
    Counter failed_acks: "Acks that the saver did not confirm and that are repeated.",
    Counter stalls: "Binds that stalled since the device did not acknowledge in time.",
    Counter loads: "Loads sent.",
    Counter failed_loads: "Loads that failed.",
    Counter checks: "Checks sent.",
    Counter found_waiting: "Checks that found something waiting.",
    Counter overflows: "Times that a shard's queue was full; all its binds are checked then.",
    Counter uplinks: "Uplinks handed to the cluster.",
    Counter tls_full: "TLS handshakes that began a new session.",
    Counter tls_resumed: "TLS handshakes that resumed a session.",
    Counter tls_failed: "TLS handshakes that failed.",
    Counter received_bytes: "Bytes read from devices.",
    Counter sent_bytes: "Bytes written to devices.",
    Counter queue_items: "Answers, deliveries and commands taken from the shards' queues, in batches.",
    Counter turns: "Turns of the shards' loops.",
}

impl Counters {
    /// A connection was closed.
    pub(crate) fn closed(&self, reason: CloseReason) {
        if let Some(place) = CloseReason::ALL.iter().position(|r| *r == reason) {
            self.closes[place].add(1);
        }
    }
}

impl Counters {
    /// Sessions now that came this way.
    pub(crate) fn transport(&self, kind: TransportKind) -> &Number {
        &self.transports[kind as usize]
    }
}

/// Shows the numbers of all shards of a room to Prometheus as `longline_room_…`.
pub(crate) struct Exporter {
    shards: Vec<Arc<Counters>>,
    descriptions: Vec<Desc>,
}

impl Exporter {
    pub(crate) fn new(shards: Vec<Arc<Counters>>) -> prometheus::Result<Exporter> {
        let mut exporter = Exporter { shards, descriptions: Vec::new() };
        let mut descriptions = Vec::new();
        for (kind, name, help, _) in NUMBERS {
            descriptions.push(Desc::new(full_name(*kind, name), (*help).into(), vec![], Default::default())?);
        }
        let (closes, transports) = (exporter.closes(), exporter.transports());
        descriptions.extend(closes.desc().into_iter().chain(transports.desc()).cloned());
        exporter.descriptions = descriptions;
        Ok(exporter)
    }

    fn closes(&self) -> IntCounterVec {
        let options = Opts::new("longline_room_closes_total", "Connections closed, by reason.");
        let closes = IntCounterVec::new(options, &["reason"]).expect("the name and the label are valid");
        for (place, reason) in CloseReason::ALL.iter().enumerate() {
            let count = self.shards.iter().map(|s| s.closes[place].read()).sum();
            closes.with_label_values(&[reason.name()]).inc_by(count);
        }
        closes
    }

    fn transports(&self) -> IntGaugeVec {
        let options =
            Opts::new("longline_room_transport_sessions", "Sessions now, by how they are connected.");
        let sessions = IntGaugeVec::new(options, &["transport"]).expect("the name and the label are valid");
        for kind in TransportKind::ALL {
            let count: u64 = self.shards.iter().map(|s| s.transport(kind).read()).sum();
            sessions.with_label_values(&[kind.name()]).set(count as i64);
        }
        sessions
    }
}

impl Collector for Exporter {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.closes().collect();
        families.extend(self.transports().collect());
        for (kind, name, help, number) in NUMBERS {
            let sum: u64 = self.shards.iter().map(|s| number(s).read()).sum();
            families.extend(family(*kind, name, help, sum));
        }
        families
    }
}

fn family(kind: Kind, name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let name = full_name(kind, name);
    match kind {
        Kind::Gauge => IntGauge::new(name, help).map(|gauge| {
            gauge.set(value as i64);
            gauge.collect()
        }),
        Kind::Counter => prometheus::IntCounter::new(name, help).map(|counter| {
            counter.inc_by(value);
            counter.collect()
        }),
    }
    .unwrap_or_default()
}

fn full_name(kind: Kind, name: &str) -> String {
    let suffix = if kind == Kind::Counter { "_total" } else { "" };
    format!("longline_room_{name}{suffix}")
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};

    use super::*;

    #[test]
    fn the_shards_are_added_up() {
        let shards = vec![Arc::new(Counters::default()), Arc::new(Counters::default())];
        for shard in &shards {
            shard.pushes.add(2);
            shard.sessions.add(3);
            shard.sessions.sub(1);
            shard.closed(CloseReason::Kicked);
        }
        let registry = Registry::new();
        registry.register(Box::new(Exporter::new(shards).unwrap())).unwrap();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            "longline_room_pushes_total 4",
            "longline_room_sessions 4",
            "longline_room_closes_total{reason=\"kicked\"} 2",
            "longline_room_closes_total{reason=\"going_away\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
