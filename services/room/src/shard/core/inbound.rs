//! What comes through the shard's queue: answers, hints and commands.

use super::Core;
use crate::link::{Answer, BindOutcome, Command, Delivered, Delivery, Inspection, Taken, ToCluster, ToShard};
use crate::metrics::Resident;
use crate::session::{Connection, Ended, Now};
use crate::shard::sweep::Job;

impl Core {
    /// Something came through the queue.
    pub(crate) fn handle(&mut self, taken: Taken, now: Now, peer: impl Fn(u32) -> String) {
        if taken.overflowed {
            self.env.counters.overflows.add(1);
            self.begin(Job::Check, now);
        }
        self.env.counters.queue_items.add(taken.items.len() as u64);
        for item in taken.items {
            match item {
                ToShard::Answers(answers) => answers.into_iter().for_each(|answer| self.answer(answer, now)),
                ToShard::Deliver { deliveries, came_at, reply } => {
                    let results: Vec<Delivered> =
                        deliveries.iter().map(|delivery| self.deliver(delivery, now)).collect();
                    let pushed = results.iter().filter(|result| **result == Delivered::Pushed).count();
                    if pushed > 0 {
                        self.pushed.push((came_at, pushed as u64));
                    }
                    // Nobody waits for it any more: the hints were heard all the same.
                    let _ = reply.send(results);
                }
                ToShard::Command(command) => self.command(command, now, &peer),
            }
        }
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery, now: Now) -> Delivered {
        let mut result = Delivered::NotHere;
        self.route_event(&delivery.route, now, |session, t| {
            let (delivered, goes_on) = session.deliver(delivery, t);
            result = delivered;
            goes_on
        });
        match result {
            Delivered::Pushed => {}
            Delivered::Deferred => self.env.counters.deferred.add(1),
            Delivered::NotHere => self.env.counters.not_here.add(1),
            Delivered::Dropped => self.env.counters.dropped.add(1),
        }
        result
    }

    pub(super) fn answer(&mut self, answer: Answer, now: Now) {
        match answer {
            Answer::Bind { bind, address, outcome } => {
                self.env.binds_waiting = self.env.binds_waiting.saturating_sub(1);
                let route = match &outcome {
                    BindOutcome::Bound(bound) => Some(bound.route),
                    BindOutcome::Refused(_) => None,
                };
                let known = self.session_event(bind.session, now, |session, t| {
                    let known = session.has_bind(bind);
                    session.bind_answered(bind, outcome, t).map(|()| known)
                });
                // The session or the bind has ended meanwhile: the route is taken back.
                if matches!(known, None | Some(Ok(false)))
                    && let Some(route) = route
                {
                    self.env.questions.push_back(ToCluster::Unbind { address, route });
                }
            }
            Answer::Load { bind, number, result } => {
                self.session_event(bind.session, now, |session, t| {
                    session.loaded(bind, number, result, t);
                    Ok(())
                });
            }
            Answer::Check { bind, result } => {
                self.session_event(bind.session, now, |session, t| {
                    session.checked(bind, result, t);
                    Ok(())
                });
            }
            Answer::Ack { bind, id, result } => {
                self.session_event(bind.session, now, |session, t| {
                    session.ack_answered(bind, id, result, t);
                    Ok(())
                });
            }
            Answer::Uplink { session: id, sequence, result, retry_after_ms } => {
                self.session_event(id, now, |session, t| {
                    session.uplink_answered(sequence, result, retry_after_ms, t);
                    Ok(())
                });
            }
            Answer::Assert { bind, stamp, outcome } => {
                self.session_event(bind.session, now, |session, t| {
                    session.assert_answered(bind, stamp, outcome, t)
                });
            }
        }
    }

    pub(super) fn command(&mut self, command: Command, now: Now, peer: &impl Fn(u32) -> String) {
        match command {
            Command::Identity(identity) => {
                if self.env.identity.replace(identity) != Some(identity) {
                    self.env.epoch += 1;
                    self.begin(Job::Renew, now);
                }
            }
            Command::Displace { key, route, reply } => {
                let found = self.route_event(&route, now, |session, t| session.displace(key, &route, t));
                let _ = reply.send(was_found(found));
            }
            Command::Kick { address, route, detail, reply } => {
                let found = self.route_event(&route, now, |session, t| session.kick(&address, &detail, t));
                let _ = reply.send(was_found(found));
            }
            Command::Inspect { address, route, reply } => {
                let found = self.route_event(&route, now, |session, t| Ok(session.inspect(&address, t)));
                let found = found.and_then(Result::ok).flatten();
                let index = route.session.index();
                let client = self.connections.get(index).and_then(Connection::client);
                let peer = client.map_or_else(|| peer(index), |client| client.to_string());
                let shown = found.zip(self.connections.get(index)).map(|(inspection, connection)| {
                    let Resident { state, transport } = connection.resident();
                    let (state, transport) = (state.name(), transport.name());
                    Inspection { peer, state, transport, ..inspection }
                });
                let _ = reply.send(shown);
            }
            Command::Walk(walk) => {
                self.env.broadcasts.begin(&walk);
                self.begin(Job::Walk(walk), now);
            }
            Command::Refill { refill, slots } => self.begin(Job::Refill { refill, slots }, now),
            Command::CheckAll => self.begin(Job::Check, now),
            Command::Drain(drain) => self.drain(drain, now),
            Command::Resume => self.resume(),
            Command::Stop => self.stop(now),
        }
    }
}

/// A session that has ended by it was there.
fn was_found(found: Option<Result<bool, Ended>>) -> bool {
    found.is_some_and(|found| found.unwrap_or(true))
}
