//! `[unicast]`, `[broadcast]`, `[uplink]`: what is sent.

use std::time::Duration;

use longline_load_truth::Header;
use longline_types::limits;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::phases::{LONGEST_S, Phases};
use crate::section::{Given, Section};
use crate::shares::Shares;

/// Messages to single users.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Unicast {
    /// When the next one is sent.
    #[serde(flatten)]
    pub pace: Pace,
    /// Sizes and how often each occurs; the shares add up to 1.
    pub payload_bytes: Vec<PayloadSize>,
    /// The way into the system.
    #[serde(flatten)]
    pub via: Via,
    /// Whether they are stored.
    pub class: Class,
    /// How long they may wait, in seconds; none: as the product says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
    /// Connections of each agent to the API.
    pub connections: usize,
}

/// When the next unicast is sent.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pace {
    /// Open loop: when it is due, however the system fares.
    Open {
        /// Messages a second over all agents.
        #[serde(rename = "rate")]
        per_second: f64,
    },
    /// Closed loop: when one of those under way was acknowledged.
    Closed {
        /// Messages under way for each agent.
        window: usize,
    },
}

/// A size of payload.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct PayloadSize {
    /// With the header.
    pub bytes: usize,
    /// How often it occurs.
    pub share: f64,
}

/// The way into the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "lowercase")]
pub enum Via {
    /// One HTTP request for each message.
    Http,
    /// HTTP requests for many users.
    Batch {
        /// Users of a request.
        #[serde(rename = "batch")]
        users: usize,
    },
    /// A gRPC stream.
    Grpc {
        /// Users of a request on it.
        #[serde(rename = "batch")]
        users: usize,
    },
}

/// Whether a message is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Until it is acknowledged.
    Durable,
    /// Never.
    Transient,
}

/// Messages to everybody.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Broadcast {
    /// Seconds from one to the next.
    pub every_s: f64,
    /// With the header.
    pub payload_bytes: usize,
    /// Users a second that the system is to send it to; 0: no limit.
    pub per_second: u32,
    /// How long it may wait, in seconds; none: as the product says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
}

/// Data from devices to the business.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Uplink {
    /// Uplinks a second over all agents.
    #[serde(rename = "rate")]
    pub per_second: f64,
    /// With the header.
    pub payload_bytes: usize,
}

impl Broadcast {
    /// When broadcasts are sent, counted from the start of the measured phase: the first after half of `every_s`, so that as many
    /// as fit are sent and the last has time to arrive.
    pub fn times(&self, phases: &Phases) -> impl Iterator<Item = Duration> + use<> {
        let (every_s, measured) = (self.every_s, phases.measured());
        let time = move |number: u32| Duration::from_secs_f64((f64::from(number) + 0.5) * every_s);
        (0..u32::MAX).map(time).take_while(move |time| *time < measured)
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Broadcast, Fault> {
        Ok(Broadcast {
            every_s: section.must("every_s", |given| match given.positive(LONGEST_S)? {
                s if s < 0.01 => Err(given.fault("is at least 0.01")),
                s => Ok(s),
            })?,
            payload_bytes: section.or("payload_bytes", 256, bytes)?,
            per_second: section.or("per_second", 0, |given| given.whole(0..=u32::MAX))?,
            ttl_s: ttl_s(section)?,
        })
    }
}

impl Uplink {
    pub(crate) fn read(section: &Section<'_>) -> Result<Uplink, Fault> {
        Ok(Uplink {
            per_second: section.must("rate", |given| given.positive(FASTEST))?,
            payload_bytes: section.or("payload_bytes", 128, bytes)?,
        })
    }
}

impl Unicast {
    pub(crate) fn read(section: &Section<'_>) -> Result<Unicast, Fault> {
        const CLASSES: [(&str, Class); 2] = [("durable", Class::Durable), ("transient", Class::Transient)];
        let default_size = vec![PayloadSize { bytes: 256, share: 1.0 }];
        Ok(Unicast {
            pace: pace(section)?,
            payload_bytes: section.or("payload_bytes", default_size, sizes)?,
            via: via(section)?,
            class: section.or("class", Class::Durable, |given| given.choice(&CLASSES))?,
            ttl_s: ttl_s(section)?,
            connections: section.or("connections", 16, |given| given.whole(1..=10_000))?,
        })
    }
}

/// Messages a second: more than any machine sends.
const FASTEST: f64 = 1e8;
/// A year, beyond which a product takes none.
const LONGEST_TTL_S: u32 = 365 * 24 * 60 * 60;

fn pace(section: &Section<'_>) -> Result<Pace, Fault> {
    let rate = section.maybe("rate", |given| Ok((given.place(), given.positive(FASTEST)?)))?;
    let window = section.maybe("window", |given| Ok((given.place(), given.whole(1..=1_000_000)?)))?;
    match (rate, window) {
        (Some((_, per_second)), None) => Ok(Pace::Open { per_second }),
        (None, Some((_, window))) => Ok(Pace::Closed { window }),
        (None, None) => {
            Err(section.fault("unicast.rate (open loop) or unicast.window (closed loop) is missing"))
        }
        (Some((rate, _)), Some((window, _))) => {
            let (later, other) = if rate > window { (rate, "window") } else { (window, "rate") };
            let reason = "unicast.rate (open loop) and unicast.window (closed loop) exclude each other";
            Err(Fault::new(later, format!("{reason}; `--set unicast.{other}=none` takes the other away")))
        }
    }
}

fn via(section: &Section<'_>) -> Result<Via, Fault> {
    const HTTP: &str = "http";
    let word = section.or("via", HTTP, |given| given.choice(&["http", "batch", "grpc"].map(|w| (w, w))))?;
    if word == HTTP {
        section.refuse(&["batch"], "is for via = \"batch\" and via = \"grpc\" only")?;
        return Ok(Via::Http);
    }
    let users = section.or("batch", 100, |given| given.whole(1..=limits::USERS_PER_SEND))?;
    Ok(if word == "grpc" { Via::Grpc { users } } else { Via::Batch { users } })
}

fn sizes(given: Given<'_>) -> Result<Vec<PayloadSize>, Fault> {
    if !given.is_list() {
        return Ok(vec![PayloadSize { bytes: bytes(given)?, share: 1.0 }]);
    }
    let sections = given.sections()?;
    if sections.is_empty() {
        return Err(given.fault("needs at least one size"));
    }
    let mut shares = Shares::default();
    let mut sizes = Vec::with_capacity(sections.len());
    for section in &sections {
        let share = section.must("share", |given| shares.read_positive(&given))?;
        sizes.push(PayloadSize { bytes: section.must("bytes", bytes)?, share });
    }
    sizes.iter_mut().for_each(|size| size.share = shares.normalised(size.share));
    Ok(sizes)
}

fn bytes(given: Given<'_>) -> Result<usize, Fault> {
    match given.whole(0..=limits::PAYLOAD)? {
        bytes if bytes < Header::LEN => Err(given.fault(format!(
            "is {bytes}, but the header that every payload begins with has {} bytes",
            Header::LEN
        ))),
        bytes => Ok(bytes),
    }
}

fn ttl_s(section: &Section<'_>) -> Result<Option<u32>, Fault> {
    section.maybe("ttl_s", |given| given.whole(1..=LONGEST_TTL_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts_are_spread_over_the_measured_phase() {
        let times = |every_s, measured_s| {
            let phases = Phases { warm_up_s: 0.0, measured_s, settle_s: 1.0 };
            let broadcast = Broadcast { every_s, payload_bytes: 32, per_second: 0, ttl_s: None };
            broadcast.times(&phases).map(|time| time.as_secs_f64()).collect::<Vec<_>>()
        };
        assert_eq!(times(5.0, 10.0), [2.5, 7.5]);
        assert_eq!(times(30.0, 30.0), [15.0]);
        assert_eq!(times(30.0, 15.0), [] as [f64; 0]);
    }
}
