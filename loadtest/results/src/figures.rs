//! The figures that a run is made for, and how they come out of its legs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Side;

/// The figures of one side: the median over its legs. One that cannot be had is null, and `absent` says why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Whose cost the figures of cost tell: `room` (all rooms together), `standalone` (the whole process), or `raw`.
    pub of: String,
    /// How many legs stand behind each figure.
    pub legs: u32,
    /// Resident memory that one more session takes: the slope over the ramp, not the ratio.
    pub bytes_per_session: Option<f64>,
    /// CPU time per connection that came up, in µs, over the ramp.
    pub cpu_us_per_connect: Option<f64>,
    /// CPU time per acknowledged unicast, in µs, over the measured phase.
    pub cpu_us_per_unicast: Option<f64>,
    /// CPU time per delivery of a broadcast to one device, in µs, over the measured phase.
    pub cpu_us_per_broadcast_delivery: Option<f64>,
    /// Unicasts received per second of the measured phase.
    pub unicasts_per_second: Option<f64>,
    /// Connections per second of the ramp.
    pub connects_per_second: Option<f64>,
    /// From due to received, of the unicasts of the measured phase, all legs merged, in µs.
    pub latency_us: LatencyFigures,
    /// The same figures of cost of the other roles, and of `all` server processes together.
    pub roles: BTreeMap<String, RoleFigures>,
    /// How well the line of `bytes_per_session` fits, in the last leg that has one.
    pub memory_fit: Option<MemoryFit>,
    /// Smallest and largest over the legs, by figure (`latency_us.p50`, `roles.center.cpu_us_per_connect`, …).
    pub spread: BTreeMap<String, Spread>,
    /// Why a figure is null, by figure.
    pub absent: BTreeMap<String, String>,
}

/// Figures of delay, in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// Half were no longer than this.
    pub p50: Option<f64>,
    /// 99 of 100.
    pub p99: Option<f64>,
    /// 999 of 1,000.
    pub p999: Option<f64>,
}

/// What one role costs, all its processes together. The fields are those of [`Figures`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleFigures {
    /// Resident memory that one more session takes.
    pub bytes_per_session: Option<f64>,
    /// CPU time per connection, in µs.
    pub cpu_us_per_connect: Option<f64>,
    /// CPU time per acknowledged unicast, in µs.
    pub cpu_us_per_unicast: Option<f64>,
    /// CPU time per delivery of a broadcast to one device, in µs.
    pub cpu_us_per_broadcast_delivery: Option<f64>,
}

/// Smallest and largest value of a figure over the legs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// The line of resident memory over connected sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryFit {
    /// Its slope, bytes per session.
    pub bytes_per_session: f64,
    /// Where it meets no sessions, in bytes.
    pub base_bytes: f64,
    /// How far the points lie from it: root of the mean square, in bytes.
    pub residual_bytes: f64,
    /// How many points.
    pub points: u32,
}

/// The system's figures divided by those of `raw` in the same round: the median over the rounds. The names are those of
/// [`Figures`]; `roles` divides a role's cost by the same figure of `raw`, so that `roles.all` is the whole system against it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    /// How many rounds have both sides.
    pub rounds: u32,
    /// See [`Figures::bytes_per_session`]; so with the next ones.
    pub bytes_per_session: Option<f64>,
    /// Of CPU per connection.
    pub cpu_us_per_connect: Option<f64>,
    /// Of CPU per acknowledged unicast.
    pub cpu_us_per_unicast: Option<f64>,
    /// Of CPU per delivery of a broadcast.
    pub cpu_us_per_broadcast_delivery: Option<f64>,
    /// Of unicasts per second.
    pub unicasts_per_second: Option<f64>,
    /// Of connections per second.
    pub connects_per_second: Option<f64>,
    /// Of delays.
    pub latency_us: LatencyFigures,
    /// Of the other roles' cost.
    pub roles: BTreeMap<String, RoleFigures>,
    /// Smallest and largest over the rounds, by figure.
    pub spread: BTreeMap<String, Spread>,
    /// Why a ratio is null, by figure.
    pub absent: BTreeMap<String, String>,
}

/// What the load tester itself cost, controller and local agents together. Of the side where it is had, `raw` before the system:
/// against `raw` the tester is what works hardest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// The side whose legs it tells of.
    pub side: Side,
    /// CPU time per delivery to a device (acknowledged unicast or broadcast), in µs, over the measured phase.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory that one more simulated device takes, slope over the ramp.
    pub bytes_per_device: Option<f64>,
    /// Deliveries per second of the measured phase.
    pub deliveries_per_second: Option<f64>,
    /// How many cores it kept busy in the measured phase.
    pub cores: Option<f64>,
    /// Why a figure is null, by figure.
    pub absent: BTreeMap<String, String>,
}
