use std::collections::BTreeMap;

use longline_types::{IdGrant, MessageId, TimeMs};

use super::Record;

/// How long grants are, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// A node's first: short, since a number stays taken until its grant has ended, also when its process has crashed.
    pub(crate) first_grant_ms: u64,
    /// Every later one: long, since a node can do without the keeper for as long.
    pub(crate) grant_ms: u64,
}

/// Until when ids were granted per node number. Intervals of one number never overlap (I1).
#[derive(Debug)]
pub(crate) struct Grants {
    until: BTreeMap<u32, TimeMs>,
}

impl Grants {
    pub(crate) fn restore(until: BTreeMap<u32, TimeMs>) -> Grants {
        Grants { until }
    }

    /// Whether every id that was granted under this number lies in the past.
    pub(crate) fn has_ended(&self, number: u32, now_ms: TimeMs) -> bool {
        self.until.get(&number).is_none_or(|until| *until <= now_ms)
    }

    /// Grants ids of this number from where its last grant ends, but not from before `now_ms`, for `length_ms` from now.
    /// None if that is granted already (the clock has gone back).
    pub(crate) fn give(
        &mut self,
        number: u32,
        length_ms: u64,
        now_ms: TimeMs,
        records: &mut Vec<Record>,
    ) -> Option<IdGrant> {
        debug_assert!(number < MessageId::NODES);
        let from_ms = self.until.get(&number).copied().unwrap_or(0).max(now_ms);
        let until_ms = now_ms + length_ms;
        if until_ms <= from_ms {
            return None;
        }
        self.until.insert(number, until_ms);
        records.push(Record::Granted(number, until_ms));
        Some(IdGrant { number, from_ms, until_ms })
    }
}
