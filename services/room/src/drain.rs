use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long those that were asked to go may take, once the last was asked: the way of a frame to a slow device, and its goodbye.
const LEAVE: Duration = Duration::from_secs(2);

/// How a room is emptied: when it stops, when an operator says so, or when it has lost its cluster.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainConfig {
    /// Most sessions that the room sends to other rooms in a second; 0: no limit. What the others and their registers and savers take
    /// on top of their own work.
    pub sessions_per_second: u32,
    /// Sending them takes at least this long, however few they are.
    pub within_ms: u32,
    /// An ordered stop waits at most this long for the sessions to go. Those left are closed, and told to come back as slowly as
    /// they would have been sent. Not counted in `node.shutdown_s`.
    pub deadline_ms: u32,
    /// A session that is to be closed while messages, acks or uplinks of it are under way is waited for this long.
    pub grace_ms: u32,
    /// A session that is sent away gets a ticket that is good for this long: the next room then does not check its tokens. 0: none.
    pub ticket_s: u32,
}

impl Default for DrainConfig {
    fn default() -> DrainConfig {
        DrainConfig {
            sessions_per_second: 1_000,
            within_ms: 3_000,
            deadline_ms: 60_000,
            grace_ms: 2_000,
            ticket_s: 60,
        }
    }
}

impl DrainConfig {
    /// How long it takes to send so many sessions away.
    pub fn spread(&self, sessions: u64) -> Duration {
        let within = Duration::from_millis(self.within_ms.into());
        match self.sessions_per_second {
            0 => within,
            rate => within.max(Duration::from_secs_f64(sessions as f64 / f64::from(rate))),
        }
    }

    /// How long those may take to go that were asked last.
    pub fn leave(&self) -> Duration {
        LEAVE
    }

    /// How long sessions with something under way are waited for.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms.into())
    }

    /// How long a ticket is good.
    pub fn ticket(&self) -> Duration {
        Duration::from_secs(self.ticket_s.into())
    }

    /// What all of it takes at most.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_few_sessions_go_slower() {
        let config = DrainConfig { sessions_per_second: 100, within_ms: 3_000, ..DrainConfig::default() };
        let seconds = |sessions| config.spread(sessions).as_secs_f64();
        assert_eq!((seconds(0), seconds(10), seconds(300), seconds(100_000)), (3.0, 3.0, 3.0, 1_000.0));
        let unlimited = DrainConfig { sessions_per_second: 0, ..config };
        assert_eq!(unlimited.spread(u64::MAX), Duration::from_secs(3));
    }
}
