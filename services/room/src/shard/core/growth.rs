//! How long a shard stands still while it grows. Only here are a million sessions held in one test.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::tests::{NOW, core, idle_session};
use super::*;
use crate::shard::wheel::TICK_MS;

const SESSIONS: u64 = 1_000_000;
/// Those of the first minutes, in which hardly a timer fires.
const QUIET_TURNS: u64 = 3_000;
const LONGEST: Duration = Duration::from_millis(1);

/// The CPU time of this thread: what others do on the machine meanwhile does not count.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Does something so often; the longest that one took.
fn longest(what: &str, times: u64, mut work: impl FnMut(u64)) -> Duration {
    let (mut longest, mut slow) = (Duration::ZERO, 0);
    for number in 0..times {
        let begun = cpu_time();
        work(number);
        let took = cpu_time() - begun;
        longest = longest.max(took);
        slow += u32::from(took > LONGEST / 2);
    }
    println!("{what}: the longest of {times} took {longest:?}; {slow} took more than half a millisecond");
    longest
}

#[test]
#[ignore = "measures time and takes a gigabyte; for an optimised build"]
fn a_shard_grows_to_a_million_sessions_and_back_without_a_stall() {
    let mut core = core();
    // Who leaves is gone.
    core.env.config.park_ms = 0;
    let mut listed = Vec::new();
    let connecting = longest("connecting, with HELLO, bind and load", SESSIONS, |number| {
        idle_session(&mut core, number);
        // As the loop around the core does in each turn.
        core.take_listed(&mut listed);
        listed.clear();
    });
    let mut turn = |number: u64| {
        core.turn(Now { ms: NOW.ms + number * TICK_MS, ..NOW });
        core.env.questions.clear();
    };
    (0..QUIET_TURNS).for_each(&mut turn);
    let turns = longest("turns that run timers", 2_000, |number| turn(QUIET_TURNS + number));
    let now = Now { ms: NOW.ms + (QUIET_TURNS + 2_000) * TICK_MS, ..NOW };
    let leaving = longest("leaving", SESSIONS, |number| {
        core.lost(number as u32, now);
        core.remove(number as u32);
        core.take_listed(&mut listed);
        listed.clear();
        core.env.questions.clear();
    });
    assert_eq!(core.len(), 0);
    assert!(connecting <= LONGEST, "connecting took {connecting:?}");
    // Not growth: the checks of a million sessions in one shard are 200 for each tick.
    for (what, took) in [("a turn", turns), ("leaving", leaving)] {
        assert!(took <= 5 * LONGEST, "{what} took {took:?}");
    }
}
