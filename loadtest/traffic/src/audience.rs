//! Whose turn it is: users one by one or in groups, each always to the same center.

use std::ops::Range;

use crate::walk::Walk;

/// The agent's users, in the order in which they get messages.
#[derive(Debug)]
pub(crate) struct Audience {
    first: u32,
    walk: Walk,
    /// One per center.
    lanes: Vec<Lane>,
}

/// The users of one center who wait for company.
#[derive(Debug)]
struct Lane {
    /// Users of a full group: as asked, or all that the center has.
    full: usize,
    waiting: Vec<u32>,
}

/// One request's users.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// The number of the center, which is also the ledger's stream.
    pub(crate) center: u16,
    /// Each once.
    pub(crate) users: Vec<u32>,
}

impl Audience {
    /// `users` in groups of `group`, spread over `centers` by the user's number. None if there are no users or no centers.
    pub(crate) fn new(users: Range<u32>, centers: usize, group: usize, seed: u64) -> Option<Audience> {
        let centers = u32::try_from(centers).ok().filter(|n| (1..=u32::from(u16::MAX)).contains(n))?;
        if users.is_empty() {
            return None;
        }
        let lane = |center: u32| {
            let own = below(users.end, center, centers) - below(users.start, center, centers);
            Lane { full: group.clamp(1, (own as usize).max(1)), waiting: Vec::new() }
        };
        Some(Audience {
            first: users.start,
            walk: Walk::new(users.end - users.start, seed),
            lanes: (0..centers).map(lane).collect(),
        })
    }

    /// The users of the next request. Within a group nobody is named twice: a center's users come in the same order each
    /// round, and no group is larger than a round.
    pub(crate) fn next(&mut self) -> Group {
        loop {
            let user = self.first + self.walk.next();
            let center = user as usize % self.lanes.len();
            let lane = &mut self.lanes[center];
            lane.waiting.push(user);
            if lane.waiting.len() >= lane.full {
                let users = std::mem::replace(&mut lane.waiting, Vec::with_capacity(lane.full));
                return Group { center: center as u16, users };
            }
        }
    }
}

/// How many numbers below `end` leave this remainder.
fn below(end: u32, remainder: u32, divisor: u32) -> u32 {
    end / divisor + u32::from(end % divisor > remainder)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    #[test]
    fn every_user_gets_as_many_and_always_from_the_same_center() {
        let mut audience = Audience::new(10..110, 3, 1, 5).unwrap();
        let mut turns: BTreeMap<u32, u32> = BTreeMap::new();
        for _ in 0..300 {
            let group = audience.next();
            assert_eq!(group.users.len(), 1);
            assert_eq!(group.users[0] % 3, u32::from(group.center));
            *turns.entry(group.users[0]).or_default() += 1;
        }
        assert!(turns.keys().copied().eq(10..110) && turns.values().all(|n| *n == 3), "{turns:?}");
    }

    #[test]
    fn nobody_is_twice_in_a_group() {
        for (users, centers, asked) in [(0..1000, 2, 100), (5..12, 2, 100), (0..97, 3, 33), (3..4, 4, 10)] {
            let mut audience = Audience::new(users.clone(), centers, asked, 9).unwrap();
            for _ in 0..200 {
                let Group { center, users: group } = audience.next();
                assert!(group.iter().all(|u| users.contains(u) && u % centers as u32 == u32::from(center)));
                let different: HashSet<_> = group.iter().collect();
                assert_eq!(different.len(), group.len());
                let own = users.clone().filter(|u| u % centers as u32 == u32::from(center)).count();
                assert_eq!(group.len(), asked.min(own));
            }
        }
    }

    #[test]
    fn without_users_or_centers_there_is_no_audience() {
        assert!(Audience::new(5..5, 1, 1, 0).is_none());
        assert!(Audience::new(0..5, 0, 1, 0).is_none());
    }
}
