//! `[churn]`, `[hostile]`, `[storm]`: what makes it hard.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::section::{Given, Section};
use crate::shares::Shares;

/// Devices that drop and return.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Churn {
    /// The share of all devices that drops in a second.
    pub share_per_second: f64,
    /// The share of these that the room is not told of: no FIN, no RST, as in a tunnel.
    pub half_open: f64,
    /// The shortest and the longest time they are away, in seconds.
    pub away_s: (f64, f64),
}

/// Devices that misbehave, as shares of all; together at most 1.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Hostile {
    /// Never acknowledge.
    pub never_ack: f64,
    /// Read slowly.
    pub slow: f64,
    /// Stop reading.
    pub stop_reading: f64,
    /// Send what is no frame.
    pub rubbish: f64,
    /// Connect and say nothing.
    pub silent: f64,
}

/// Everybody, or everybody of a room, comes back at once.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Storm {
    /// What happens.
    pub kind: StormKind,
    /// When, in seconds from the start of the measured phase.
    pub at_s: f64,
}

/// What sets a storm off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StormKind {
    /// All devices close and connect at once.
    Reconnect,
    /// A room is killed, and its devices look for another.
    KillRoom,
    /// All rooms are restarted in order, one after the other; each sends its devices to the others first.
    Rolling,
}

impl StormKind {
    const NAMES: [(&str, StormKind); 3] = [
        ("reconnect", StormKind::Reconnect),
        ("kill_room", StormKind::KillRoom),
        ("rolling", StormKind::Rolling),
    ];

    /// Its name in the file.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl Churn {
    /// The shortest and the longest time a device is away.
    pub fn away(&self) -> (Duration, Duration) {
        (Duration::from_secs_f64(self.away_s.0), Duration::from_secs_f64(self.away_s.1))
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Churn, Fault> {
        let away = |given: Given<'_>| given.range(|number| number.number(0.0..=86_400.0));
        Ok(Churn {
            share_per_second: section.must("share_per_second", |given| given.positive(1.0))?,
            half_open: section.or("half_open", 0.2, |given| given.number(0.0..=1.0))?,
            away_s: section.or("away_s", (1.0, 10.0), away)?,
        })
    }
}

impl Hostile {
    pub(crate) fn read(section: &Section<'_>) -> Result<Hostile, Fault> {
        let mut shares = Shares::default();
        let mut share = |key| section.or(key, 0.0, |given| shares.read(&given));
        Ok(Hostile {
            never_ack: share("never_ack")?,
            slow: share("slow")?,
            stop_reading: share("stop_reading")?,
            rubbish: share("rubbish")?,
            silent: share("silent")?,
        })
    }
}

impl Storm {
    /// When it breaks loose, from the start of the measured phase.
    pub fn at(&self) -> Duration {
        Duration::from_secs_f64(self.at_s)
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Storm, Fault> {
        Ok(Storm {
            kind: section.must("kind", |given| given.choice(&StormKind::NAMES))?,
            at_s: section.or("at_s", 5.0, |given| given.number(0.0..=crate::phases::LONGEST_S))?,
        })
    }
}
