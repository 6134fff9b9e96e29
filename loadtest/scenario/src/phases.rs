//! `[phases]`: how long each part of a leg takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::section::Section;

/// How long each part of a leg takes after the devices have connected.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Phases {
    /// Traffic that is not measured, in seconds.
    pub warm_up_s: f64,
    /// Traffic that is, in seconds.
    pub measured_s: f64,
    /// The longest wait for what is outstanding after the traffic, in seconds.
    pub settle_s: f64,
}

/// Thirty days.
pub(crate) const LONGEST_S: f64 = 2_592_000.0;

impl Phases {
    /// Traffic that is not measured.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up_s)
    }

    /// Traffic that is measured.
    pub fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.measured_s)
    }

    /// The longest wait after the traffic.
    pub fn settle(&self) -> Duration {
        Duration::from_secs_f64(self.settle_s)
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Phases, Fault> {
        Ok(Phases {
            warm_up_s: section.or("warm_up_s", 2.0, |given| given.number(0.0..=LONGEST_S))?,
            measured_s: section.must("measured_s", |given| given.positive(LONGEST_S))?,
            settle_s: section.or("settle_s", 30.0, |given| given.positive(LONGEST_S))?,
        })
    }
}
