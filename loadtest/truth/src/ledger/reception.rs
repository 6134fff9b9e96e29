//! How far one message has come with one user, and whether it may come again.

use super::tick::{NEVER, Tick};
use super::users::{End, User};

/// The last receipt of a message by a user, and its acknowledgement. 12 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reception {
    connection: u32,
    /// When the acknowledgement of the last receipt was written.
    acked_at: Tick,
    received: bool,
    /// Any receipt was acknowledged.
    acked: bool,
    /// The acknowledgement may have died with its connection.
    uncertain: bool,
}

/// What may still happen to a received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Future {
    /// Anything: it is not acknowledged, or only just.
    Open,
    /// It may come again, since the acknowledgement of this time may have died with its connection.
    MayComeAgain(Tick),
    /// Nothing: a further receipt is a duplicate.
    Ended,
}

impl Reception {
    /// Nothing received.
    pub(super) const NONE: Reception =
        Reception { connection: 0, acked_at: NEVER, received: false, acked: false, uncertain: false };

    pub(super) fn received(&self) -> bool {
        self.received
    }

    pub(super) fn acked(&self) -> bool {
        self.acked
    }

    /// It came (again), on this connection.
    pub(super) fn receive(&mut self, connection: u32) {
        *self = Reception { connection, acked: self.acked, received: true, ..Reception::NONE };
    }

    /// The last receipt was acknowledged on this connection. Answers whether it is the first acknowledgement of all. One that comes
    /// on another connection than the receipt is nothing to the server.
    pub(super) fn ack(&mut self, connection: u32, at: Tick) -> bool {
        if !self.received || connection != self.connection {
            return false;
        }
        self.acked_at = self.acked_at.min(at);
        !std::mem::replace(&mut self.acked, true)
    }

    /// Whether one more receipt is what delivery at least once allows. On the same connection it has to be marked, and may not follow
    /// an acknowledgement but one that it can have crossed. On another, the acknowledgement must be missing or may have died with its
    /// connection.
    pub(super) fn may_come_again(
        &self,
        user: &User,
        connection: u32,
        marked: bool,
        at: Tick,
        grace: Tick,
    ) -> bool {
        let acked = self.acked_at != NEVER;
        if connection == self.connection {
            return marked && (!acked || at < self.acked_at.saturating_add(grace));
        }
        !acked || self.uncertain || self.may_have_died(user.end_of(self.connection), at, grace)
    }

    /// What may still happen, now that it was received.
    pub(super) fn future(&mut self, user: Option<&User>, now: Tick, grace: Tick) -> Future {
        if self.acked_at == NEVER || self.acked_at.saturating_add(grace) >= now {
            return Future::Open;
        }
        let end = user.map_or(End::Open, |user| user.end_of(self.connection));
        self.uncertain |= self.may_have_died(end, now, grace);
        if self.uncertain { Future::MayComeAgain(self.acked_at) } else { Future::Ended }
    }

    fn may_have_died(&self, end: End, now: Tick, grace: Tick) -> bool {
        let end = match end {
            End::Forgotten => return true,
            End::At(end) => end,
            End::Open => now,
        };
        end < self.acked_at.saturating_add(grace)
    }
}
