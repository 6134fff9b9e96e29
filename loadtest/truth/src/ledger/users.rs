//! The users of a shard: when they came and went.

use super::order::Order;
use super::tick::{NEVER, Tick};
use crate::Micros;

/// Ended connections that a user remembers. Acknowledgements are judged within seconds, so that a few are enough.
const ENDS: usize = 4;

/// One user.
#[derive(Debug)]
pub(super) struct User {
    /// When the first bind stood; the maximum: never.
    pub(super) first_bound: Micros,
    /// Since when a bind stands; [`NEVER`]: none does.
    online_since: Tick,
    connection: u32,
    /// The last connections that ended, the newest first; free places have [`NEVER`].
    ends: [(u32, Tick); ENDS],
    /// What was received in which order.
    pub(super) order: Order,
}

/// When a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Not yet.
    Open,
    /// Then.
    At(Tick),
    /// Too long ago to be known.
    Forgotten,
}

impl User {
    pub(super) fn new() -> User {
        User {
            first_bound: Micros::MAX,
            online_since: NEVER,
            connection: 0,
            ends: [(0, NEVER); ENDS],
            order: Order::default(),
        }
    }

    /// A connection's bind stands: since then in the clock's time, and in ticks.
    pub(super) fn bound(&mut self, connection: u32, at: Micros, tick: Tick) {
        self.first_bound = self.first_bound.min(at);
        if self.online_since == NEVER || connection >= self.connection {
            self.connection = connection;
            self.online_since = tick;
        }
    }

    pub(super) fn disconnected(&mut self, connection: u32, at: Tick) {
        if connection == self.connection {
            self.online_since = NEVER;
        }
        if !self.ends.iter().any(|&(ended, tick)| ended == connection && tick != NEVER) {
            self.ends.rotate_right(1);
            self.ends[0] = (connection, at);
        }
    }

    /// Whether a bind stands now, and has stood since `then` or longer.
    pub(super) fn is_online_since(&self, then: Tick) -> bool {
        self.online_since <= then
    }

    pub(super) fn end_of(&self, connection: u32) -> End {
        let known = self.ends.iter().filter(|(_, tick)| *tick != NEVER);
        if let Some((_, tick)) = known.clone().find(|(ended, _)| *ended == connection) {
            return End::At(*tick);
        }
        let oldest = known.clone().map(|(ended, _)| *ended).min();
        let forgets = known.count() == ENDS;
        if forgets && oldest > Some(connection) { End::Forgotten } else { End::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_when_the_last_connections_ended() {
        let mut user = User::new();
        assert_eq!(user.end_of(1), End::Open, "not told of it yet");
        for connection in 1..=6 {
            user.bound(connection, u64::from(connection), connection);
            assert!(user.is_online_since(connection));
            assert_eq!(user.end_of(connection), End::Open);
            user.disconnected(connection, connection * 10);
            user.disconnected(connection, 999);
            assert!(!user.is_online_since(NEVER - 1));
        }
        assert_eq!(user.first_bound, 1);
        assert_eq!(
            (user.end_of(6), user.end_of(3), user.end_of(2)),
            (End::At(60), End::At(30), End::Forgotten)
        );
        assert_eq!(user.end_of(7), End::Open);
    }

    #[test]
    fn a_late_goodbye_of_an_older_connection_changes_nothing() {
        let mut user = User::new();
        user.bound(1, 0, 0);
        user.bound(2, 5, 5);
        user.disconnected(1, 6);
        assert!(user.is_online_since(5) && !user.is_online_since(4));
    }
}
