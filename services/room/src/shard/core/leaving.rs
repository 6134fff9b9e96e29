//! The core's part of a departure: the shard takes nobody in, asks its sessions to go, and closes those that stay.

use super::Core;
use crate::admission::Refusal;
use crate::link::Drain;
use crate::session::{Ending, Now};
use crate::shard::departure::{Departure, Step};
use crate::shard::sweep::Job;

impl Core {
    /// Begins to empty the shard.
    pub(super) fn drain(&mut self, drain: Drain, now: Now) {
        let sessions = self.env.counters.sessions.read();
        self.env.draining = Some(drain.reason);
        self.env.settling = false;
        self.sweeps.call_off_leaving();
        let guide = drain.guide.clone().filter(|_| sessions > 0);
        let mut departure = Departure::new(drain, sessions, now.ms);
        match guide {
            Some(guide) => self.begin(Job::SendAway { rate: departure.rate(), guide }, now),
            None => departure.nobody_is_asked(now.ms),
        }
        self.departure = Some(departure);
    }

    /// Calls the departure off: the shard takes sessions again, and serves those that have stayed.
    pub(super) fn resume(&mut self) {
        self.departure = None;
        self.env.draining = None;
        self.env.settling = false;
        self.sweeps.call_off_leaving();
    }

    /// Does what the departure asks for now; whether it will ask for more.
    pub(super) fn run_departure(&mut self, now: Now) -> bool {
        let Some(departure) = &mut self.departure else { return false };
        let step = departure.step(now.ms);
        let goes_on = !departure.is_over();
        match step {
            Step::Wait => {}
            Step::Settle => {
                self.env.settling = true;
                self.sweeps.call_off_leaving();
            }
            Step::CloseRested => self.begin(Job::Close { rested: true }, now),
            Step::CloseAll => self.begin(Job::Close { rested: false }, now),
        }
        goes_on
    }

    /// Every session was asked to go.
    pub(super) fn all_asked(&mut self, now: Now) {
        if let Some(departure) = &mut self.departure {
            departure.all_asked(now.ms);
        }
    }

    /// Closes a connection of a shard that is being emptied; if it must be `rested`, only a session with nothing under way. Whether
    /// it was closed.
    pub(super) fn close(&mut self, index: u32, rested: bool, now: Now) -> bool {
        let Some(connection) = self.connections.get(index) else { return false };
        if rested && !connection.is_at_rest() {
            return false;
        }
        let mut ending = Ending::refused(Refusal::Draining, 0, now, &mut self.env);
        if connection.is_session() {
            ending.retry_after_ms += self.departure.as_mut().map_or(0, Departure::wait_ms);
        }
        self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
        true
    }
}
