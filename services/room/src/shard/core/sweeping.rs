//! The core's part of sweeps: what a job does to one session, and what follows when it is done.

use super::Core;
use crate::link::ToCluster;
use crate::session::Now;
use crate::shard::sweep::{Job, Pace};

impl Core {
    /// Begins a job on all connections there are.
    pub(super) fn begin(&mut self, job: Job, now: Now) {
        self.sweeps.begin(job, self.connections.places(), now.ms);
    }

    /// Runs a slice of the sweeps.
    pub(super) fn run_sweeps(&mut self, now: Now) -> Pace {
        let mut sweeps = std::mem::take(&mut self.sweeps);
        let shard = self.shard;
        let mut finished = Vec::new();
        let congested = self.env.congested;
        let visit = |job: &Job, place| self.visit(job, place, now);
        let pace = sweeps.run(now.ms, congested, visit, |job| finished.push(job));
        for job in finished {
            match job {
                Job::Walk(walk) => walk.shard_done(),
                Job::Refill { refill, .. } => {
                    self.env.questions.push_back(ToCluster::Refilled { shard, refill });
                }
                Job::SendAway { .. } => self.all_asked(now),
                Job::Check | Job::Renew | Job::Close { .. } => {}
            }
        }
        self.sweeps = sweeps;
        pace
    }

    /// One session's part of a sweep; whether it counts for the sweep's rate.
    fn visit(&mut self, job: &Job, index: u32, now: Now) -> bool {
        let soon_ms = self.env.config.check_soon_ms;
        if let Job::Close { rested } = job {
            return self.close(index, *rested, now);
        }
        let counts = self.connection_event(index, now, |connection, env| {
            connection.with_session(now, env, |session, t| {
                match job {
                    Job::Check => session.check_soon(soon_ms, t),
                    Job::Renew => session.renew(t),
                    Job::Refill { refill, slots } => {
                        let held =
                            session.assert_routes(|b| slots.contains(b.address.slot()), Some(*refill), t);
                        if held {
                            session.check_soon(soon_ms, t);
                        }
                    }
                    Job::Walk(walk) => return session.walk(walk, t),
                    Job::SendAway { guide, .. } => session.send_away(&**guide, t)?,
                    Job::Close { .. } => {}
                }
                Ok(true)
            })
        });
        matches!(counts.flatten(), Some(Ok(true)))
    }
}
