//! When to send PING, and when the silence has been too long.

use std::time::Duration;

use tokio::time::Instant;

/// Used if the room names no interval.
const DEFAULT: Duration = Duration::from_secs(240);

/// The clocks of a connection. A PING is due once one interval has passed without anything sent, or without anything
/// received (else a device that only acknowledges would never learn that nobody listens); the connection is broken after
/// one and a half intervals without anything received.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    sent: Instant,
    received: Instant,
    pinged: Instant,
}

impl Heartbeat {
    pub(crate) fn new(interval_s: u32, now: Instant) -> Heartbeat {
        let mut heartbeat = Heartbeat { interval: DEFAULT, sent: now, received: now, pinged: now };
        heartbeat.set_interval(interval_s);
        heartbeat
    }

    /// Takes another interval; 0 changes nothing.
    pub(crate) fn set_interval(&mut self, interval_s: u32) {
        if interval_s > 0 {
            self.interval = Duration::from_secs(interval_s.into());
        }
    }

    /// Something was sent.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Something came, or the client itself is not listening now.
    pub(crate) fn received(&mut self, now: Instant) {
        self.received = now;
    }

    /// A PING was sent.
    pub(crate) fn pinged(&mut self, now: Instant) {
        self.pinged = now;
        self.sent = now;
    }

    /// When the next PING is due.
    pub(crate) fn ping_due(&self) -> Instant {
        self.sent.min(self.received.max(self.pinged)) + self.interval
    }

    /// When the connection is broken if nothing comes.
    pub(crate) fn broken_at(&self) -> Instant {
        self.received + self.interval * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_connection_is_pinged_once_per_interval() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut heartbeat = Heartbeat::new(100, start);
        assert_eq!((heartbeat.ping_due(), heartbeat.broken_at()), (at(100), at(150)));
        heartbeat.pinged(at(100));
        assert_eq!((heartbeat.ping_due(), heartbeat.broken_at()), (at(200), at(150)));
        heartbeat.received(at(101));
        assert_eq!((heartbeat.ping_due(), heartbeat.broken_at()), (at(200), at(251)));
    }

    #[test]
    fn a_device_that_only_sends_still_asks_whether_anybody_listens() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut heartbeat = Heartbeat::new(100, start);
        heartbeat.sent(at(90));
        assert_eq!(heartbeat.ping_due(), at(100));
        heartbeat.pinged(at(100));
        heartbeat.sent(at(140));
        assert_eq!(heartbeat.ping_due(), at(200));
    }

    #[test]
    fn the_interval_changes_while_connected() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(0, start);
        assert_eq!(heartbeat.ping_due(), start + DEFAULT);
        heartbeat.set_interval(10);
        heartbeat.set_interval(0);
        assert_eq!(heartbeat.ping_due(), start + Duration::from_secs(10));
    }
}
