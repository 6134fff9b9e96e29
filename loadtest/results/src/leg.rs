//! One side in one round: its phases, its samples over time, its totals.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Counts, Latencies, Percentiles};

/// One run of one side: the devices connect, traffic runs, everything comes to rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Who was under load.
    pub side: Side,
    /// The round, from 1. A system leg and a raw leg of the same round ran next to each other and are compared.
    pub round: u32,
    /// When it started, milliseconds since the Unix epoch; every `…_s` within the leg counts from here.
    pub started_ms: u64,
    /// The phases it went through, in order. The last one ends early if the run was interrupted.
    pub phases: Vec<PhaseSpan>,
    /// What was seen about once a second, in order of time. One sample falls on the end of each phase, and two or more lie before
    /// the ramp, so that what the servers cost without devices is known.
    pub series: Vec<Sample>,
    /// Counts of the whole leg.
    pub counts: Counts,
    /// Broadcasts sent.
    pub broadcasts: u64,
    /// What became of the uplinks.
    pub uplinks: Uplinks,
    /// Delays over the whole leg.
    pub latency: Latencies,
    /// Delays of the messages that were planned in the measured phase.
    pub measured: Latencies,
    /// Connections that ended, by reason, like `1002` or `broken`.
    pub closes: BTreeMap<String, u64>,
    /// What failed, by kind, like `http 503` or `connect timed out`.
    pub errors: BTreeMap<String, u64>,
}

/// Who is under load in a leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Longline.
    #[default]
    System,
    /// The reference server.
    Raw,
}

/// A part of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// The devices connect.
    Ramp,
    /// Traffic runs and is not measured yet.
    WarmUp,
    /// Traffic runs and is measured.
    Measured,
    /// No new traffic; what is outstanding arrives.
    Settle,
}

/// Uplinks of a leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplinks {
    /// Those that the room confirmed.
    pub acked: u64,
    /// Of these, those that reached the business.
    pub received: u64,
    /// Of these, those that did not.
    pub lost: u64,
    /// Those that reached the business again, as at-least-once delivery allows.
    pub duplicated: u64,
}

/// When a phase was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpan {
    /// Which one.
    pub name: PhaseName,
    /// Its start.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
}

/// What was seen at one moment. `connected` and the processes' memory are as they were then; counters count from the start of the
/// leg and never fall (those of an agent that died stay as they were last); delays are of the time since the sample before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_s: f64,
    /// Devices that are connected and bound.
    pub connected: u64,
    /// Connections that came up and were bound.
    pub connects: u64,
    /// Of these, those that went on with the session of an earlier one.
    #[serde(default)]
    pub resumed: u64,
    /// Connections that did not come up.
    pub connect_failures: u64,
    /// Unicasts that were due.
    pub planned: u64,
    /// Unicasts that the API accepted.
    pub accepted: u64,
    /// Unicasts that reached their device for the first time.
    pub received: u64,
    /// Unicasts whose acknowledgement the device sent.
    pub acked: u64,
    /// Broadcasts that reached a device for the first time, every device counted.
    pub broadcast_deliveries: u64,
    /// Uplinks that the room confirmed.
    pub uplinks: u64,
    /// Failures of every kind.
    pub errors: u64,
    /// From due to accepted, µs; null where none was accepted since the sample before, so also below.
    pub accepted_us: Option<Percentiles>,
    /// From due to received, µs.
    pub received_us: Option<Percentiles>,
    /// From due to acknowledged, µs.
    pub acked_us: Option<Percentiles>,
    /// The processes on this machine. One that could not be read is absent.
    pub processes: Vec<ProcessSample>,
    /// Counters and gauges of the servers, summed over the processes of a role, as `role.metric`.
    pub metrics: BTreeMap<String, f64>,
}

/// What one process used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// What it does; [`TESTER`] for the load tester's own.
    pub role: String,
    /// Its name, like `room-1`; the same after a restart.
    pub name: String,
    /// Its process id; another one after a restart.
    pub pid: u32,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// CPU time in µs, user and system, since the process started.
    pub cpu_us: u64,
}

/// The role of the load tester's own processes, controller and agents.
pub const TESTER: &str = "tester";

impl Leg {
    /// When a phase was, if the leg got there.
    pub fn phase(&self, name: PhaseName) -> Option<PhaseSpan> {
        self.phases.iter().find(|phase| phase.name == name).copied()
    }
}

impl PhaseSpan {
    /// Its length in seconds, never below 0.
    pub fn length_s(&self) -> f64 {
        (self.to_s - self.from_s).max(0.0)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::System => "system",
            Side::Raw => "raw",
        })
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseName::Ramp => "ramp",
            PhaseName::WarmUp => "warm-up",
            PhaseName::Measured => "measured",
            PhaseName::Settle => "settle",
        })
    }
}
