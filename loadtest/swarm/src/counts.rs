//! What a swarm has done so far.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use longline_types::CloseReason;
use serde::{Deserialize, Serialize};

use crate::tally::Cell;
use crate::trouble::Trouble;

/// Defines the counters once: as a thread's cells, and as the numbers that are handed out.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The cells of one thread.
        #[derive(Default, Debug)]
        pub(crate) struct Tally {
            $(pub(crate) $name: Cell,)*
            failures: [Cell; Trouble::ALL.len()],
            losses: [Cell; Trouble::ALL.len()],
            closes: [Cell; CloseReason::ALL.len()],
            other_closes: Cell,
        }

        /// Counts of a swarm. All but the first three only grow; swarms and moments are added and subtracted by whoever reads.
        #[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
        #[serde(default)]
        pub struct SwarmCounts {
            $($(#[$doc])* pub $name: u64,)*
            /// Connects that failed before WELCOME, by kind of trouble (`refused`, `reset`, `timed_out`, `no_descriptors`, …).
            pub failures: BTreeMap<String, u64>,
            /// Connections lost after WELCOME without CLOSE, by kind of trouble (`hung_up`, `silence`, `stuck`, …).
            pub losses: BTreeMap<String, u64>,
            /// What rooms closed connections with, by the reason's name (`going_away`, `displaced`, …; `other` for unknown
            /// numbers). A BOUND that ends the only bind counts like the CLOSE that says the same.
            pub closes: BTreeMap<String, u64>,
        }

        impl Tally {
            fn plain(&self) -> SwarmCounts {
                SwarmCounts { $($name: self.$name.get(),)* ..SwarmCounts::default() }
            }
        }

        impl SwarmCounts {
            fn add_plain(&mut self, other: &SwarmCounts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Devices whose bind stands now.
    connected,
    /// Devices between connect() and the answer to their bind now.
    connecting,
    /// Sockets now that their devices have left without closing them.
    half_open,
    /// Connects begun.
    connects,
    /// Binds that stood, once per connection.
    bound,
    /// Connections that went on with the session of an earlier one.
    resumed,
    /// Connections that asked for that and began a fresh session.
    resumes_refused,
    /// Devices whose bind was refused; they do not come back.
    refused,
    /// Times that nobody could say where a device is to connect.
    unrouted,
    /// Devices dropped by churn or by a storm.
    dropped,
    /// Drops of churn that found no device to drop.
    drops_missed,
    /// PINGs sent.
    heartbeats,
    /// PUSHes that came.
    pushes,
    /// Ids acknowledged: in the kernel's hands.
    acks,
    /// Uplinks begun.
    uplinks,
    /// Uplinks that found no device to send them.
    uplinks_missed,
    /// UPLINK frames sent, repeats included.
    uplinks_sent,
    /// Uplinks answered with OK.
    uplinks_acked,
    /// Answers that asked for another try.
    uplinks_retried,
    /// Uplinks refused for good.
    uplinks_refused,
    /// Bytes read from sockets.
    bytes_in,
    /// Bytes written to sockets.
    bytes_out,
}

impl Tally {
    /// A connection is in trouble, before WELCOME or after it.
    pub(crate) fn trouble(&self, trouble: Trouble, welcomed: bool) {
        let cells = if welcomed { &self.losses } else { &self.failures };
        cells[trouble as usize].add(1);
    }

    /// A room closed a connection.
    pub(crate) fn closed(&self, reason: u32) {
        let known = CloseReason::ALL.iter().position(|known| u32::from(known.number()) == reason);
        known.map_or(&self.other_closes, |place| &self.closes[place]).add(1);
    }

    /// The numbers now.
    pub(crate) fn counts(&self) -> SwarmCounts {
        let troubles = Trouble::ALL.map(Trouble::name);
        let reasons = CloseReason::ALL.map(CloseReason::name);
        let mut counts = self.plain();
        counts.failures = named(&troubles, &self.failures);
        counts.losses = named(&troubles, &self.losses);
        counts.closes = named(&reasons, &self.closes);
        if self.other_closes.get() > 0 {
            counts.closes.insert("other".to_owned(), self.other_closes.get());
        }
        counts
    }
}

impl AddAssign<&SwarmCounts> for SwarmCounts {
    fn add_assign(&mut self, other: &SwarmCounts) {
        self.add_plain(other);
        merge(&mut self.failures, &other.failures);
        merge(&mut self.losses, &other.losses);
        merge(&mut self.closes, &other.closes);
    }
}

impl Add for SwarmCounts {
    type Output = SwarmCounts;

    fn add(mut self, other: SwarmCounts) -> SwarmCounts {
        self += &other;
        self
    }
}

fn named(names: &[&str], cells: &[Cell]) -> BTreeMap<String, u64> {
    let counted = names.iter().zip(cells).filter(|(_, cell)| cell.get() > 0);
    counted.map(|(name, cell)| ((*name).to_owned(), cell.get())).collect()
}

fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *into.entry(name.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_under_its_name() {
        let tally = Tally::default();
        tally.pushes.add(3);
        tally.connected.add(2);
        tally.connected.sub(1);
        tally.trouble(Trouble::Refused, false);
        tally.trouble(Trouble::Silence, true);
        tally.closed(1004);
        tally.closed(2999);
        let counts = tally.counts() + tally.counts();
        assert_eq!((counts.pushes, counts.connected), (6, 2));
        assert_eq!(counts.failures, BTreeMap::from([("refused".to_owned(), 2)]));
        assert_eq!(counts.losses, BTreeMap::from([("silence".to_owned(), 2)]));
        let closes = BTreeMap::from([("slow_reader".to_owned(), 2), ("other".to_owned(), 2)]);
        assert_eq!(counts.closes, closes);
    }
}
