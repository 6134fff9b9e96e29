//! The figures that a run is made for, and how they come out of its legs.

mod curve;
mod evaluate;
mod fit;
mod in_room;
mod leg;
mod own;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Side;

pub(crate) use curve::{Curve, Who, cpu, rss};
pub(crate) use evaluate::evaluate;

pub(crate) use leg::{LegFigures, roles};
pub(crate) use own::own_cost;
pub(crate) use values::EFFORTS;
pub use values::{LatencyFigures, RoleFigures, Spread, Values};

/// The figures of one side: the median over its legs, but delays of all its legs merged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Whose cost the figures of cost tell: `room` (all rooms together), `standalone` (the whole process), or `raw`; empty if no
    /// server process could be watched.
    pub of: String,
    /// How many legs stand behind them.
    pub legs: u32,
    /// How well the line of `bytes_per_session` fits, in the last leg that has one.
    pub memory_fit: Option<MemoryFit>,
    /// The figures, directly in this object.
    #[serde(flatten)]
    pub values: Values,
}

/// The system's figures divided by those of `raw` in the same round: the median over the rounds. `roles` divides a role's cost by
/// the same figure of `raw`, so that `roles.all` is the whole system against it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    /// How many rounds have both sides.
    pub rounds: u32,
    /// The ratios under the names of the figures, directly in this object.
    #[serde(flatten)]
    pub values: Values,
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

/// What the load tester itself cost, controller and agents together. Of `raw`'s legs where there are any, since against `raw` the
/// tester is what works hardest; else of the system's. The median over the legs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// The side whose legs it tells of.
    pub side: Side,
    /// CPU time per delivery to a device (acknowledged unicast or broadcast), in µs, over the measured phase; heartbeats and
    /// whatever else it did then are in it.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory that one more simulated device takes: the slope over the ramp.
    pub bytes_per_device: Option<f64>,
    /// Deliveries per second of the measured phase.
    pub deliveries_per_second: Option<f64>,
    /// How many cores it kept busy in the measured phase.
    pub cores: Option<f64>,
    /// Why a figure is null, by figure.
    pub absent: BTreeMap<String, String>,
}
