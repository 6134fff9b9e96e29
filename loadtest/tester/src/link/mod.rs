//! What controller and agents say to each other: one gRPC stream per agent, orders one way and reports the other.
//!
//! The stream is the run: when it ends, the agent drops its devices and is free for the next controller.

mod codec;

use std::collections::BTreeMap;
use std::ops::Range;

use longline_load_scenario::Scenario;
use longline_load_swarm::{AckedUplinks, SwarmCounts};
use longline_load_traffic::{Api, TrafficCounts};
use longline_load_truth::{Counts, Findings, Micros};
use serde::{Deserialize, Serialize};

pub(crate) use codec::JsonCodec;

/// The generated client and server.
#[expect(unreachable_pub, reason = "generated code")]
pub(crate) mod service {
    include!(concat!(env!("OUT_DIR"), "/longline.loadtest.v1.Agent.rs"));
}

/// Largest message between the two: findings with examples, bitmaps of uplinks.
pub(crate) const MAX_MESSAGE: usize = 64 << 20;

/// What a controller asks for, in this order; storms and broadcasts come in between.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Be this share of a leg. Answered by [`Report::Ready`].
    Assign(Box<Assignment>),
    /// Ramp: connect the devices.
    Connect {
        /// Devices a second; 0 for all at once.
        per_second: f64,
    },
    /// Warm-up: all activities begin.
    Begin,
    /// Messages planned from now on count as measured.
    Measure,
    /// All devices close and come back.
    DropAll,
    /// A broadcast was accepted.
    Broadcast(Sent),
    /// Tell how it goes. Answered by [`Report::Sample`].
    Look,
    /// No new messages; everybody comes back online.
    Settle,
    /// Hand in the findings. Answered by [`Report::Findings`]; afterwards another leg may be assigned.
    Finish,
}

/// A broadcast as the API took it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Its number in the run: the `sequence` of its header.
    pub(crate) number: u64,
    /// The id it was given.
    pub(crate) id: u64,
    /// When the request was sent.
    pub(crate) at: Micros,
    /// When it expires.
    pub(crate) expires: Option<Micros>,
}

/// One agent's share of one leg.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// Must be the agent's own version.
    pub(crate) version: String,
    /// The leg's number, in every payload.
    pub(crate) run: u32,
    /// The agent's number, in every payload.
    pub(crate) agent: u16,
    /// How many agents share the leg; rates are divided by it.
    pub(crate) agents: u16,
    /// The users whose devices and messages are this agent's.
    pub(crate) users: Range<u32>,
    /// What users are called: `<prefix>-<number>`.
    pub(crate) prefix: String,
    /// The whole scenario.
    pub(crate) scenario: Scenario,
    /// Against what.
    pub(crate) side: Side,
}

/// How devices know their rooms over encrypted transports.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Trust {
    /// Certificates, as PEM; empty without TLS.
    pub(crate) ca: String,
    /// The name in the rooms' certificates.
    pub(crate) host: String,
    /// The rooms' public key for Noise, in base64.
    pub(crate) noise_key: Option<String>,
}

/// What the devices and messages of a leg go to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Side {
    /// The cluster.
    System {
        /// URLs of the centers.
        centers: Vec<String>,
        /// URLs of the dispatchers; none where devices go straight to rooms.
        dispatchers: Vec<String>,
        /// host:port of the rooms.
        rooms: Vec<String>,
        /// The product.
        product: u32,
        /// Its key.
        key: String,
        /// Signs the tokens of users, where the product wants them.
        token_key: Option<Vec<u8>>,
        /// host:port of the injection port that takes messages in place of centers, where a room is alone.
        injection: Option<String>,
        /// What devices trust.
        trust: Trust,
    },
    /// The reference server.
    Raw {
        /// host:port for devices.
        devices: String,
        /// host:port for messages.
        injection: String,
    },
}

impl Side {
    /// Where messages go in.
    pub(crate) fn api(&self) -> Api {
        match self {
            Side::System { centers, key, injection, .. } => {
                Api { centers: centers.clone(), key: key.clone(), injector: injection.clone() }
            }
            Side::Raw { injection, .. } => Api { injector: Some(injection.clone()), ..Api::default() },
        }
    }
}

/// What an agent tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The assignment was understood.
    Ready,
    /// How it goes.
    Sample(Box<Sample>),
    /// The leg's end.
    Findings(Box<Outcome>),
    /// It cannot go on, and why; the stream ends.
    Failed(String),
}

/// What happened so far, and how long it took since the last sample.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Messages, cumulative.
    pub(crate) messages: Counts,
    /// Devices, cumulative.
    pub(crate) devices: SwarmCounts,
    /// Questions where to connect that had no answer of use, by what was wrong, cumulative.
    pub(crate) unrouted: BTreeMap<String, u64>,
    /// Requests, cumulative.
    pub(crate) traffic: TrafficCounts,
    /// Since the last sample; see [`longline_load_truth::Latencies::to_bytes`].
    pub(crate) latencies: Vec<u8>,
    /// Since the last sample: from when a device was due to connect until it was bound, in microseconds; see
    /// [`longline_load_truth::histogram_to_bytes`].
    pub(crate) connects: Vec<u8>,
    /// Messages and broadcast deliveries still owed.
    pub(crate) outstanding: u64,
    /// Whether unicasts are still sent or waited for.
    pub(crate) loading: bool,
}

/// What an agent found in a leg.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The agent's number.
    pub(crate) agent: u16,
    /// The last sample.
    pub(crate) sample: Sample,
    /// What its ledger says.
    pub(crate) findings: Findings,
    /// Uplinks the room said OK to.
    pub(crate) uplinks: AckedUplinks,
}

#[cfg(test)]
impl Outcome {
    /// With these findings and nothing else.
    pub(crate) fn of(findings: Findings) -> Outcome {
        Outcome { agent: 0, sample: Sample::default(), findings, uplinks: AckedUplinks::default() }
    }
}
