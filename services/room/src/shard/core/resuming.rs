//! Parked sessions: who gets one back, and when the others end.

use std::sync::atomic::Ordering;

use longline_types::SessionId;

use super::Core;
use crate::admission::Buffers;
use crate::metrics::{NoResume, ParkingEnd};
use crate::session::{Connection, Now, Returning};
use crate::shard::parking::Over;

/// Where a socket belongs after its bytes were read.
#[must_use]
pub(crate) enum Place {
    /// Where it is.
    Same,
    /// With the session that its device has got back, under this index. That one's own socket, if there still is one, is given up.
    Moved(u32),
    /// In another shard, with the connection.
    Across(Box<Emigrant>),
}

/// A connection whose device wants the session of another shard.
pub(crate) struct Emigrant {
    connection: Connection,
    returning: Box<Returning>,
}

impl Emigrant {
    /// The number of the shard that has the session, or had it.
    pub(crate) fn shard(&self) -> u8 {
        self.returning.token.session.shard()
    }
}

impl Core {
    /// A device shows a good token: it gets its session, or begins a new one, here or in the shard that the token names.
    pub(super) fn come_back(&mut self, index: u32, returning: Box<Returning>, now: Now) -> Place {
        let shard = returning.token.session.shard();
        if shard == self.shard || shard >= self.env.config.shard_count() {
            return self.give_back(index, *returning, now);
        }
        match self.take_out(index) {
            Some(connection) => Place::Across(Box::new(Emigrant { connection, returning })),
            None => Place::Same,
        }
    }

    /// A connection has come from another shard, or has come back since that takes nobody: its index, and what is to follow
    /// ([`Core::give_back`]) when its socket is there.
    pub(crate) fn land(&mut self, emigrant: Emigrant) -> (u32, Box<Returning>) {
        let Emigrant { connection, returning } = emigrant;
        self.room.connections.fetch_add(1, Ordering::Relaxed);
        self.env.counters.population.came(connection.resident());
        self.env.counters.unauthenticated.add(1);
        self.env.memory.changed(Buffers::default(), connection.buffers());
        self.env.output_bytes += connection.output().len();
        let shard = self.shard;
        let index = self
            .connections
            .insert(|index, generation| connection.renamed(SessionId::new(shard, index, generation)));
        (index, returning)
    }

    /// Gives the device its session if it may have it, else lets it begin a new one. What it wants beyond the session's binds costs the
    /// cluster as much as any HELLO: if there is no space for that now, it is told when to come back, and the session waits.
    pub(crate) fn give_back(&mut self, index: u32, returning: Returning, now: Now) -> Place {
        match self.find(&returning) {
            Ok(to) => {
                if self.connections.get(to).is_some_and(|connection| connection.is_asked_for_more(&returning))
                    && let Err(ending) = self.env.admit(now)
                {
                    self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
                    return Place::Same;
                }
                let Some(newcomer) = self.take_out(index) else { return Place::Same };
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

    /// Takes a connection that has said HELLO out of the shard, with all that it counts for.
    fn take_out(&mut self, index: u32) -> Option<Connection> {
        let connection = self.connections.remove(index)?;
        self.wheel.cancel(index);
        self.room.connections.fetch_sub(1, Ordering::Relaxed);
        self.env.counters.population.left(connection.resident());
        self.env.counters.unauthenticated.sub(1);
        self.env.memory.changed(connection.buffers(), Buffers::default());
        self.env.output_bytes = self.env.output_bytes.saturating_sub(connection.output().len());
        Some(connection)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longline_pb::client::{Bind, Hello};

    use super::super::tests::{NOW, core, greeted, idle_session};
    use super::*;
    use crate::admission::AdmissionConfig;
    use crate::resume::ResumeToken;

    /// The first device of the tests returns, for these users.
    fn returns(core: &mut Core, users: &[&str]) -> Place {
        let session = core.connections().find(|c| c.is_session()).map(Connection::id).unwrap();
        let token = ResumeToken { session, begun_ms: NOW.wall_ms, resumes: 0 };
        let bind = |(index, user): (usize, &&str)| Bind {
            index: index as u32,
            product: 1,
            user: (*user).to_owned(),
            ..Bind::default()
        };
        let hello = Hello {
            device: "device-00000001-of-36-bytes-as-uuids-".into(),
            connection_counter: 2,
            binds: users.iter().enumerate().map(bind).collect(),
            resume_token: core.env.resume_key.sign(&token),
            ..Hello::default()
        };
        let mut bytes = longline_wire::PREFACE.to_vec();
        longline_wire::encode(&hello, &mut bytes).unwrap();
        let index = core.accepted(NOW).unwrap();
        core.received(index, &bytes, NOW)
    }

    #[test]
    fn beyond_the_rate_of_hellos_a_device_gets_back_what_it_had_and_no_more() {
        let mut core = core();
        let alice = idle_session(&mut core, 1);
        let limits = AdmissionConfig { hellos_per_s: 1, hello_burst: 4, ..AdmissionConfig::default() };
        core.limit(&Arc::new(limits));
        let sessions = |core: &Core| core.connections().filter(|c| c.is_session()).count();
        let is_full = (2..100).any(|number| {
            let newcomer = greeted(&mut core, number);
            !core.connections.get(newcomer).is_some_and(Connection::is_session)
        });
        assert!(is_full);
        let before = sessions(&core);
        assert!(matches!(returns(&mut core, &["user-00000001", "bob"]), Place::Same));
        assert_eq!(sessions(&core), before, "turned away");
        assert!(matches!(returns(&mut core, &["user-00000001"]), Place::Moved(to) if to == alice));
        assert_eq!(sessions(&core), before);
    }
}
