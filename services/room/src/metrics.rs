//! What the shards count. Each shard has its own numbers; they are added up when somebody asks.

mod export;
mod histogram;
#[cfg(test)]
mod listed;
mod parking;
mod population;
mod sdks;
mod survival;
mod unqueued;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use longline_types::CloseReason;

pub(crate) use export::Exporter;
pub(crate) use histogram::Histogram;
pub(crate) use parking::{NoResume, ParkingEnd};
pub(crate) use population::{Labels, Population, Resident, State, network_name};
pub(crate) use sdks::Sdks;
pub(crate) use survival::{Outcome, Survival};
pub(crate) use unqueued::Unqueued;

use crate::admission::Refusal;

/// A number that one thread changes and others read: so a change needs no locked instruction.
#[derive(Default, Debug)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn add(&self, count: u64) {
        self.set(self.read().wrapping_add(count));
    }

    pub(crate) fn sub(&self, count: u64) {
        self.set(self.read().wrapping_sub(count));
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
            unqueued: [Number; Unqueued::ALL.len()],
            refusals: [Number; Refusal::ALL.len()],
            resumes_refused: [Number; NoResume::ALL.len()],
            parkings_ended: [Number; ParkingEnd::ALL.len()],
            /// From the receipt of a batch of deliveries until its bytes were handed to the sockets; counted once for each message
            /// pushed.
            pub(crate) delivery: Histogram,
            /// How long a turn took, without the wait for something to do.
            pub(crate) turn: Histogram,
            /// How late timers fired.
            pub(crate) wheel_lag: Histogram,
            /// Who is connected.
            pub(crate) population: Population,
            /// How connections survive the devices' silence.
            pub(crate) survival: Survival,
            /// The SDKs of all sessions of the room.
            pub(crate) sdks: Arc<Sdks>,
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
    Gauge parked_sessions: "Sessions parked now: their connection broke, and their device may come back.",
    Gauge parked_bytes: "Bytes of memory that they take.",
    Gauge binds: "Addresses bound now, or asked for.",
    Gauge backlog: "Questions to the cluster that wait in the shards.",
    Gauge binds_waiting: "Binds that the cluster has not answered.",
    Gauge load_line: "Binds that wait for their turn to load.",
    Gauge output_bytes: "Bytes not taken by the sockets yet.",
    Gauge full_sockets: "Connections whose sockets take no more.",
    Gauge memory_counted_bytes: "Bytes that the connections take, as counted: the room's own and the kernel's.",
    Gauge memory_budget_bytes: "Bytes that they may take.",
    Counter accepted: "Connections accepted.",
    Counter accept_failures: "Failures to accept, such as a lack of file descriptors.",
    Counter failed_connections: "Connections that broke: reset, or nothing acknowledged in time (TCP_USER_TIMEOUT).",
    Counter hellos: "Valid HELLO frames.",
    Counter parkings: "Sessions that were parked.",
    Counter resumes: "Sessions that their device has got back.",
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
    /// Of a shard whose room counts SDKs there.
    pub(crate) fn new(sdks: Arc<Sdks>) -> Counters {
        Counters { sdks, ..Counters::default() }
    }

    /// A connection was closed.
    pub(crate) fn closed(&self, reason: CloseReason) {
        if let Some(place) = CloseReason::ALL.iter().position(|r| *r == reason) {
            self.closes[place].add(1);
        }
    }

    /// A connection was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        if let Some(place) = Refusal::ALL.iter().position(|r| *r == refusal) {
            self.refusals[place].add(1);
        }
    }

    /// There was no space for a message among the unwritten bytes.
    pub(crate) fn not_queued(&self, outcome: Unqueued) {
        self.unqueued[outcome as usize].add(1);
    }

    #[cfg(test)]
    pub(crate) fn unqueued(&self) -> [u64; Unqueued::ALL.len()] {
        Unqueued::ALL.map(|outcome| self.unqueued[outcome as usize].read())
    }

    /// A resume token was of no use.
    pub(crate) fn resume_refused(&self, why: NoResume) {
        self.resumes_refused[why as usize].add(1);
    }

    /// A parked session has ended.
    pub(crate) fn parking_ended(&self, end: ParkingEnd) {
        self.parkings_ended[end as usize].add(1);
    }
}
