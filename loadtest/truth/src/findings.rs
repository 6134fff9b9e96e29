//! What a ledger found at the end: counts, and examples of every fault.

use serde::{Deserialize, Serialize};

use crate::{Counts, Micros};

/// What can be wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An accepted, durable unicast was never received.
    Lost,
    /// A user never received a broadcast.
    BroadcastMissing,
    /// The message was not received, but its user was not there at the end either.
    Unreachable,
    /// Received again without need.
    Duplicated,
    /// Received after a later one of the same stream.
    Reordered,
    /// Received by another than it was for, damaged, under a wrong id, or though it was refused.
    Foreign,
    /// Received after its expiry.
    Late,
}

/// One case of a fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Example {
    /// The fault.
    pub what: Fault,
    /// The user who received it, or should have.
    pub user: u32,
    /// The message's id; 0: not known.
    pub id: u64,
    /// Its sequence in the agent's ledger, or the broadcast's number.
    pub sequence: u64,
    /// When it was to be sent; 0: not known.
    pub due: Micros,
    /// What happened, as a phrase.
    pub detail: String,
}

/// What is known at the end of a leg.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// The final counts.
    pub counts: Counts,
    /// Examples, the same number of each fault at most.
    pub examples: Vec<Example>,
}

impl Findings {
    /// Adds another agent's findings, keeping at most `limit` examples of each fault.
    pub fn add(&mut self, other: Findings, limit: usize) {
        self.counts += other.counts;
        let mut examples = Examples { limit, kept: std::mem::take(&mut self.examples) };
        for example in other.examples {
            examples.add(example.what, || example);
        }
        self.examples = examples.kept;
    }
}

/// A bounded collection of examples.
#[derive(Debug)]
pub(crate) struct Examples {
    limit: usize,
    kept: Vec<Example>,
}

impl Examples {
    /// At most `limit` of each fault.
    pub(crate) fn new(limit: usize) -> Examples {
        Examples { limit, kept: Vec::new() }
    }

    /// Keeps the example unless there are enough of its fault.
    pub(crate) fn add(&mut self, what: Fault, example: impl FnOnce() -> Example) {
        if self.kept.iter().filter(|kept| kept.what == what).count() < self.limit {
            self.kept.push(example());
        }
    }

    /// Those kept.
    pub(crate) fn kept(&self) -> &[Example] {
        &self.kept
    }

    /// Ends collecting.
    pub(crate) fn into_kept(self) -> Vec<Example> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(what: Fault, count: u64) -> Findings {
        let example =
            |sequence| Example { what, user: 1, id: 2, sequence, due: 4, detail: String::from("x") };
        Findings {
            counts: Counts { lost: count, planned: 10, ..Counts::default() },
            examples: (0..count).map(example).collect(),
        }
    }

    #[test]
    fn adds_counts_and_keeps_the_limit_of_each_fault() {
        let mut sum = some(Fault::Lost, 3);
        sum.add(some(Fault::Lost, 4), 5);
        sum.add(some(Fault::Late, 2), 5);
        assert_eq!((sum.counts.lost, sum.counts.planned), (9, 30));
        let of = |what| sum.examples.iter().filter(|example| example.what == what).count();
        assert_eq!((of(Fault::Lost), of(Fault::Late)), (5, 2));
    }
}
