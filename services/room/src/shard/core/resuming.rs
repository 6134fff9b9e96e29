//! Parked sessions: who gets one back, and when the others end.

use std::sync::atomic::Ordering;

use super::Core;
use crate::admission::Buffers;
use crate::metrics::{NoResume, ParkingEnd};
use crate::session::{Now, Returning};
use crate::shard::parking::Over;

/// Where a socket belongs after its bytes were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Place {
    /// Where it is.
    Same,
    /// With the session that its device has got back, under this index. That one's own socket, if there still is one, is given up.
    Moved(u32),
}

impl Core {
    /// A device shows a good token: it gets its session, or begins a new one.
    pub(super) fn give_back(&mut self, index: u32, returning: Returning, now: Now) -> Place {
        match self.find(&returning) {
            Ok(to) => {
                let Some(newcomer) = self.connections.remove(index) else { return Place::Same };
                self.wheel.cancel(index);
                self.env.counters.population.left(newcomer.resident());
                self.env.counters.unauthenticated.sub(1);
                self.env.memory.changed(newcomer.buffers(), Buffers::default());
                self.room.connections.fetch_sub(1, Ordering::Relaxed);
                self.connection_event(to, now, |connection, env| connection.set_aside(now, env));
                self.connection_event(to, now, |connection, env| {
                    connection.take_over(newcomer, returning, now, env);
                });
                Place::Moved(to)
            }
            Err(why) => {
                self.env.counters.resume_refused(why);
                self.connection_event(index, now, |connection, env| {
                    connection.open_anew(returning, now, env);
                });
                Place::Same
            }
        }
    }

    /// The index of the session that the device may have.
    fn find(&self, returning: &Returning) -> Result<u32, NoResume> {
        let session = returning.token.session;
        if session.shard() != self.shard || self.env.draining.is_some() {
            return Err(NoResume::Gone);
        }
        let connection = self.connections.get(session.index()).ok_or(NoResume::Gone)?;
        connection.admits(returning)?;
        Ok(session.index())
    }

    /// Ends the parked sessions whose time is over, or for which there is no space.
    pub(super) fn end_parkings(&mut self, now: Now) {
        while let Some((index, over)) = self.parking.over(now.ms) {
            let end = match over {
                Over::Time => ParkingEnd::Expired,
                Over::Space => ParkingEnd::Evicted,
            };
            self.connection_event(index, now, |connection, env| connection.end_parked(end, now, env));
            // It was, with the session's end; and if there was none, it is not to be met again.
            self.parking.remove(index);
        }
    }
}
