//! Which rooms a user is to try, in which order: pure, the same for everybody who knows the same view.
//!
//! Dispatchers answer with it, and a room that sends its sessions away names the rooms that the dispatchers would, so that a user
//! who was moved is found where everybody expects it.

use std::cmp::Ordering;

use longline_types::Load;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Rooms in one answer.
pub const GROUP: usize = 3;
/// Rooms of one IDC before one of another.
const RUN: usize = 2;
/// The preferred IDC changes after so many groups that were of no use.
const ATTEMPTS_PER_IDC: u32 = 2;

/// A room that takes sessions.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate<'a> {
    /// Its lasting name: the same after a restart, so that its users come back to it.
    pub name: &'a str,
    /// What the client is told, host:port.
    pub endpoint: &'a str,
    /// Whether it stands in the IDC of who chooses.
    pub local: bool,
    /// Its share of users, against the others' weights. More than 0.
    pub weight: f64,
    /// This very client could not use it.
    pub failed: bool,
}

/// The weight by load: full until half of the capacity is used, then in few steps down, so that a change of load moves few users.
pub fn weight_by_load(load: Load) -> f64 {
    let used = if load.capacity == 0 { 0.0 } else { load.sessions as f64 / load.capacity as f64 };
    match used {
        used if used < 0.5 => 1.0,
        used if used < 0.7 => 0.75,
        used if used < 0.85 => 0.5,
        used if used < 0.95 => 0.25,
        _ => 0.05,
    }
}

/// The spread group for a user, best first: two of the own IDC and one of another. Each failed attempt goes on to the next
/// rooms, and every second one prefers the other IDCs. What the client could not use comes last.
pub fn group<'a>(candidates: Vec<Candidate<'a>>, key: u64, attempt: u32) -> Vec<&'a str> {
    let (local, remote): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| c.local);
    let (local, remote) = (ranked(local, key), ranked(remote, key));
    let prefers_local = (attempt / ATTEMPTS_PER_IDC).is_multiple_of(2);
    let mut order = if prefers_local { spread(local, remote) } else { spread(remote, local) };
    let step = if order.len() > GROUP { GROUP } else { 1 };
    let turn = (u64::from(attempt) * step as u64) as usize % order.len().max(1);
    order.rotate_left(turn);
    order.sort_by_key(|c| c.failed);
    order.into_iter().take(GROUP).map(|c| c.endpoint).collect()
}

/// Weighted rendezvous: a room that comes or goes, or changes its weight, moves only its own share of users.
fn ranked<'a>(mut rooms: Vec<Candidate<'a>>, key: u64) -> Vec<Candidate<'a>> {
    let score = |room: &Candidate<'_>| {
        // In (0, 1): the upper 53 bits, and half of the lowest.
        let hash = xxh3_64_with_seed(room.name.as_bytes(), key) >> 11;
        let uniform = (hash as f64 + 0.5) / (1u64 << 53) as f64;
        -room.weight / uniform.ln()
    };
    rooms.sort_by(|a, b| match score(b).total_cmp(&score(a)) {
        Ordering::Equal => a.name.cmp(b.name),
        order => order,
    });
    rooms
}

/// Two of the first, one of the second, and so on; the rest of the longer one at the end.
fn spread<'a>(first: Vec<Candidate<'a>>, second: Vec<Candidate<'a>>) -> Vec<Candidate<'a>> {
    let mut order = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    while first.len() > 0 {
        order.extend(first.by_ref().take(RUN));
        order.extend(second.next());
    }
    order.extend(second);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rooms<'a>(names: &[&'a str]) -> Vec<Candidate<'a>> {
        let room = |name: &&'a str| Candidate {
            name,
            endpoint: name,
            local: !name.starts_with("far"),
            weight: 1.0,
            failed: false,
        };
        names.iter().map(room).collect()
    }

    const FIVE: [&str; 5] = ["a:1", "b:1", "c:1", "d:1", "e:1"];

    fn first<'a>(candidates: Vec<Candidate<'a>>, user: u64) -> &'a str {
        group(candidates, key(user), 0)[0]
    }

    /// Keys of users are hashes.
    fn key(user: u64) -> u64 {
        xxh3_64_with_seed(&user.to_le_bytes(), 1)
    }

    /// How many of 10,000 users are sent elsewhere, and how many of those to `to`.
    fn moved(before: &[Candidate<'_>], after: &[Candidate<'_>], to: &str) -> (usize, usize) {
        let moves = (0..10_000).map(|user| (first(before.to_vec(), user), first(after.to_vec(), user)));
        let moves: Vec<_> = moves.filter(|(a, b)| a != b).collect();
        (moves.len(), moves.iter().filter(|(_, b)| *b == to).count())
    }

    #[test]
    fn a_user_keeps_the_room_and_users_are_spread_evenly() {
        let mut counts = std::collections::HashMap::new();
        for user in 0..10_000 {
            let room = first(rooms(&FIVE), user);
            let mut turned = rooms(&FIVE);
            turned.reverse();
            assert_eq!(room, first(turned, user), "the order in the view does not matter");
            *counts.entry(room).or_insert(0) += 1;
        }
        assert!(counts.values().all(|&n: &i32| (1_800..2_200).contains(&n)), "{counts:?}");
    }

    #[test]
    fn a_room_that_comes_or_goes_moves_only_its_own_share() {
        let (four, five) = (rooms(&FIVE[..4]), rooms(&FIVE));
        let (all, to_new) = moved(&four, &five, "e:1");
        assert_eq!(all, to_new);
        assert!((1_800..2_200).contains(&all), "{all}");
        let (all, _) = moved(&five, &four, "");
        assert!((1_800..2_200).contains(&all), "{all}");
    }

    #[test]
    fn a_fuller_room_gets_fewer_users_and_only_its_own_move() {
        let before = rooms(&FIVE);
        let mut after = before.clone();
        after[0].weight = 0.5;
        let (all, _) = moved(&before, &after, "");
        let share = (0..10_000).filter(|user| first(after.clone(), *user) == "a:1").count();
        assert!((1_000..1_220).contains(&share), "a ninth: {share}");
        assert!((780..1_000).contains(&all), "those it does not get any more: {all}");
    }

    #[test]
    fn load_lowers_the_weight_in_few_steps() {
        let weight = |sessions| weight_by_load(Load { sessions, capacity: 1_000, ..Load::default() });
        let weights: Vec<f64> = (0..=1_200).map(weight).collect();
        assert!(weights.is_sorted_by(|a, b| a >= b));
        let mut steps = weights.clone();
        steps.dedup();
        assert_eq!(steps, [1.0, 0.75, 0.5, 0.25, 0.05]);
        let unknown = Load { sessions: 5, capacity: 0, ..Load::default() };
        assert_eq!(weight_by_load(unknown), 1.0);
    }

    #[test]
    fn the_group_is_of_the_own_idc_with_one_of_another() {
        let all = rooms(&["a:1", "b:1", "c:1", "far-1:1", "far-2:1"]);
        for user in 0..100 {
            let far: Vec<bool> =
                group(all.clone(), key(user), 0).iter().map(|e| e.starts_with("far")).collect();
            assert_eq!(far, [false, false, true]);
        }
        assert_eq!(group(rooms(&["far-1:1", "far-2:1"]), 1, 0).len(), 2, "as many as there are");
        assert!(group(vec![], 1, 7).is_empty());
    }

    #[test]
    fn failed_attempts_lead_to_other_rooms_and_then_to_other_idcs() {
        let all = rooms(&["a:1", "b:1", "c:1", "d:1", "far-1:1", "far-2:1", "far-3:1"]);
        let groups: Vec<_> = (0..4).map(|attempt| group(all.clone(), 5, attempt)).collect();
        assert!(groups[1].iter().all(|e| !groups[0].contains(e)), "{groups:?}");
        let far = |attempt: usize| groups[attempt].iter().filter(|e| e.starts_with("far")).count();
        assert!(far(2) + far(3) > far(0) + far(1), "{groups:?}");
        let two = rooms(&["a:1", "b:1"]);
        assert_ne!(group(two.clone(), 5, 0), group(two, 5, 1), "with few rooms the order turns");
    }

    #[test]
    fn what_the_client_could_not_use_comes_last_but_comes() {
        let mut all = rooms(&["a:1", "b:1", "c:1"]);
        let best = group(all.clone(), 5, 0)[0];
        all.iter_mut().filter(|c| c.endpoint == best).for_each(|c| c.failed = true);
        let order = group(all.clone(), 5, 0);
        assert_eq!(order[2], best);
        all.iter_mut().for_each(|c| c.failed = true);
        assert_eq!(group(all, 5, 0).len(), 3, "a client that could use none is not sent away with nothing");
    }

    proptest! {
        #[test]
        fn a_group_is_always_three_different_rooms_or_all(
            local in 0usize..6, remote in 0usize..6, key: u64, attempt: u32, failed: u16,
        ) {
            let names: Vec<String> =
                (0..local).map(|i| format!("near-{i}")).chain((0..remote).map(|i| format!("far-{i}"))).collect();
            let mut all = rooms(&names.iter().map(String::as_str).collect::<Vec<_>>());
            for (i, room) in all.iter_mut().enumerate() {
                room.failed = failed >> i & 1 == 1;
            }
            let chosen = group(all, key, attempt);
            let distinct: std::collections::HashSet<_> = chosen.iter().collect();
            prop_assert_eq!(distinct.len(), GROUP.min(local + remote));
        }
    }
}
