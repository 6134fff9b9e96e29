//! `[reference]` and `[verdict]`: what the run is compared with, and what it may not do.

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::section::Section;

/// The same against the reference server, in turn with the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// How often each of the two runs.
    pub rounds: u32,
}

/// How many messages may go wrong in each way. None may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Delivered twice though nothing had broken.
    pub duplicated: u64,
    /// Delivered before one that was sent earlier.
    pub reordered: u64,
    /// Delivered to somebody else.
    pub foreign: u64,
    /// Delivered after they had expired.
    pub late: u64,
}

impl Reference {
    pub(crate) fn read(section: &Section<'_>) -> Result<Reference, Fault> {
        Ok(Reference { rounds: section.or("rounds", 3, |given| given.whole(1..=100))? })
    }
}

impl Verdict {
    pub(crate) fn read(section: &Section<'_>) -> Result<Verdict, Fault> {
        let most = |key| section.or(key, 0, |given| given.whole(0..=u64::MAX));
        Ok(Verdict {
            duplicated: most("duplicated")?,
            reordered: most("reordered")?,
            foreign: most("foreign")?,
            late: most("late")?,
        })
    }
}
