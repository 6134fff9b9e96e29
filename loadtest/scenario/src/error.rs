//! Why a scenario was refused, in words that say where and what to change.

use std::path::{Path, PathBuf};

use crate::sets::Set;

/// Why a scenario was refused.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("cannot read the scenario {}: {reason}", .path.display())]
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}: {reason}", .path.display())]
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Something that was set over the file is wrong.
    #[error("--set {set}: {reason}")]
    Set {
        /// As it was given: `devices.count=5000`.
        set: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Where a key or a value was given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// One of the sets, by its index.
    Set(usize),
}

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) reason: String,
}

impl Fault {
    pub(crate) fn new(place: Place, reason: impl Into<String>) -> Fault {
        Fault { place, reason: reason.into() }
    }

    /// With the names of the file and of the sets.
    pub(crate) fn named(self, path: &Path, sets: &[Set]) -> ScenarioError {
        match self.place {
            Place::Line(line) => ScenarioError::File { path: path.to_owned(), line, reason: self.reason },
            Place::Set(index) => {
                let set = sets.get(index).map(|set| set.text.clone()).unwrap_or_default();
                ScenarioError::Set { set, reason: self.reason }
            }
        }
    }
}
