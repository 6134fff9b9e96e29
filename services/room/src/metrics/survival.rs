use longline_pb::client::Network;

use super::Number;
use super::population::{NETWORKS, network_place};

/// Upper bounds of the heartbeat intervals that are told apart, in seconds.
const BOUNDS_S: [u32; 10] = [30, 60, 90, 120, 180, 240, 300, 360, 480, 600];
/// Intervals that are told apart: those by bound, and what is beyond the last.
pub(super) const INTERVALS: usize = BOUNDS_S.len() + 1;

/// What became of a connection after a silence as long as its heartbeat interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Something came.
    Survived,
    /// Nothing came any more, or only that the connection is broken.
    Broken,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 2] = [Outcome::Survived, Outcome::Broken];

    /// Its value of the label `outcome`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Survived => "survived",
            Outcome::Broken => "broken",
        }
    }
}

/// How connections survive silences as long as their heartbeat interval, by network and interval. The best interval can be learned
/// from it: the longest that nearly all survive.
#[derive(Default, Debug)]
pub(crate) struct Survival([[[Number; Outcome::ALL.len()]; INTERVALS]; NETWORKS.len()]);

impl Survival {
    /// A connection in this network was silent for its interval.
    pub(crate) fn note(&self, network: Network, interval_s: u32, outcome: Outcome) {
        let interval = BOUNDS_S.partition_point(|bound| *bound < interval_s);
        self.0[network_place(network)][interval][outcome as usize].add(1);
    }

    pub(crate) fn read(&self, network: usize, interval: usize, outcome: Outcome) -> u64 {
        self.0[network][interval][outcome as usize].read()
    }
}

/// The label `interval`: the upper bound in seconds.
pub(super) fn interval_name(interval: usize) -> String {
    BOUNDS_S.get(interval).map_or_else(|| "+Inf".to_owned(), u32::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_belongs_to_the_first_bound_that_holds_it() {
        let survival = Survival::default();
        for interval_s in [5, 30, 31, 480, 601] {
            survival.note(Network::Wifi, interval_s, Outcome::Survived);
        }
        survival.note(Network::Wifi, 480, Outcome::Broken);
        let wifi = network_place(Network::Wifi);
        let rows = (0..INTERVALS).map(|interval| {
            let counts = Outcome::ALL.map(|outcome| survival.read(wifi, interval, outcome));
            (interval_name(interval), counts)
        });
        let rows: Vec<_> = rows.filter(|(_, counts)| *counts != [0, 0]).collect();
        let expected = [("30", [2, 0]), ("60", [1, 0]), ("480", [1, 1]), ("+Inf", [1, 0])];
        assert_eq!(rows, expected.map(|(interval, counts)| (interval.to_owned(), counts)));
    }
}
