//! Shares of a whole.

use crate::error::Fault;
use crate::section::Given;

/// Shares that were read as tenths and thirds may add up to a little more than 1.
const TOLERANCE: f64 = 1e-9;

/// Adds up shares while they are read.
#[derive(Default)]
pub(crate) struct Shares {
    sum: f64,
}

impl Shares {
    /// A share of 0 to 1 that does not lift the sum above 1.
    pub(crate) fn read(&mut self, given: &Given<'_>) -> Result<f64, Fault> {
        let share = given.number(0.0..=1.0)?;
        self.sum += share;
        if self.sum > 1.0 + TOLERANCE {
            let sum = (self.sum * 1e6).round() / 1e6;
            return Err(given.fault(format!("lifts the sum of the shares to {sum}, above 1")));
        }
        Ok(share)
    }

    /// The same above 0.
    pub(crate) fn read_positive(&mut self, given: &Given<'_>) -> Result<f64, Fault> {
        given.positive(1.0)?;
        self.read(given)
    }

    /// What a share is if all of them together are the whole.
    pub(crate) fn normalised(&self, share: f64) -> f64 {
        // So that shares that add up already stay as they were written.
        if (self.sum - 1.0).abs() <= TOLERANCE { share } else { share / self.sum }
    }
}
