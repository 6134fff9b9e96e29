//! How many messages met which fate.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts since the ledger was made; those of several agents are added up.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counts! {
    /// Unicasts that were to be sent.
    planned,
    /// Of these, those that the API answered with an id.
    accepted,
    /// Those that the API refused.
    refused,
    /// Those without an answer: they may arrive or not.
    unknown,
    /// Those that were never sent.
    skipped,
    /// Unicasts received, each once.
    received,
    /// Unicasts whose acknowledgement was written, each once.
    acked,
    /// Second receipts that delivery at least once allows, of unicasts and broadcasts.
    redelivered,
    /// Second receipts that it does not allow, of unicasts and broadcasts.
    duplicated,
    /// Receipts that should not have been: of another's messages, `unreadable`, `wrong_id` and `unexpected`.
    foreign,
    /// Of the foreign ones: payloads without a readable header.
    unreadable,
    /// Of the foreign ones: a known payload under another id than the API had given.
    wrong_id,
    /// Of the foreign ones: messages that the API had refused.
    unexpected,
    /// Unicasts received after a later one of the same sender stream.
    reordered,
    /// Receipts after the message's expiry.
    late,
    /// Durable messages that expired before their user received them.
    expired,
    /// Accepted transient messages that were not received (until now).
    transient_dropped,
    /// Durable messages and deliveries of broadcasts that should have been received and were not. Known at the end only.
    lost,
    /// The same, but their users were not online at the end, or had only just come: nobody can tell. Known at the end only.
    unreachable,
    /// Deliveries owed by the broadcasts: a broadcast for ten users counts ten.
    broadcast_expected,
    /// Broadcasts received, each once by each user. Users who came when it was sent may or may not get it and are not in
    /// `broadcast_expected`.
    broadcast_received,
    /// Broadcasts whose acknowledgement was written, each once by each user.
    broadcast_acked,
    /// Of the lost ones: deliveries of broadcasts. Known at the end only.
    broadcast_missing,
}

impl Counts {
    /// Unicasts whose fate the API has not told yet.
    pub fn unanswered(&self) -> u64 {
        self.planned.saturating_sub(self.accepted + self.refused + self.unknown + self.skipped)
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(mut self, other: Counts) -> Counts {
        self += other;
        self
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), Counts::add)
    }
}
