//! Time as every part of the load tester measures it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub type Micros = u64;

/// Tells the time: monotonic, and anchored to the wall clock once, when it is made.
///
/// Make one per process and pass it on: two clocks of one process differ by what the wall clock was set in between.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Micros,
}

impl Clock {
    /// A clock that agrees with the wall clock now.
    pub fn new() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), wall: micros(wall) }
    }

    /// The present; never less than an answer before it.
    pub fn now(&self) -> Micros {
        self.wall + micros(self.started.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// A length of time in microseconds.
pub(crate) fn micros(length: Duration) -> Micros {
    length.as_micros() as Micros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_wall_clock_and_never_goes_back() {
        let clock = Clock::new();
        let wall = micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let mut last = clock.now();
        assert!(last.abs_diff(wall) < 5_000_000);
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
