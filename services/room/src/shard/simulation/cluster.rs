//! The cluster's part of the world: it works on the shard's questions in any order, and may fail.

use longline_pb::client::{BindResult, UplinkResult};
use longline_types::{Address, Route, SlowReader, Stamp};

use super::world::{OUTPUT, World, number};
use crate::link::{
    Answer, AssertOutcome, BindId, BindOutcome, Bound, Failed, Identity, LoadRequest, Loaded, Message,
    Queueing, Refusal, ToCluster,
};

impl World {
    /// The cluster works on a question; its answer is under way then.
    pub(super) fn work(&mut self, pick: usize, ok: bool) {
        if self.questions.is_empty() {
            return;
        }
        let pick = pick % self.questions.len();
        // Register operations of one address keep their order (R5).
        let pick = match register_operation(&self.questions[pick]) {
            None => pick,
            Some(address) => {
                let same = |q: &ToCluster| register_operation(q) == Some(address);
                self.questions.iter().position(same).unwrap_or(pick)
            }
        };
        let Some(question) = self.questions.remove(pick) else { return };
        let answer = match question {
            ToCluster::Bind(request) => {
                let outcome = if ok { self.bind(&request.address, request.bind) } else { unavailable() };
                Answer::Bind { bind: request.bind, address: request.address, outcome }
            }
            ToCluster::Unbind { address, route } => {
                let user = number(&address);
                if self.routes.get(&user) == Some(&route) {
                    self.routes.remove(&user);
                }
                return;
            }
            ToCluster::Load(request) => self.load(request, ok),
            ToCluster::Check { bind, address } => {
                let waiting = self.store.keys().any(|(user, _)| *user == number(&address));
                Answer::Check { bind, result: if ok { Ok(waiting) } else { Err(Failed) } }
            }
            ToCluster::Ack { bind, address, id, .. } => {
                let result =
                    if ok { Ok(self.store.remove(&(number(&address), id)).is_some()) } else { Err(Failed) };
                Answer::Ack { bind, id, result }
            }
            ToCluster::Uplink(uplink) => Answer::Uplink {
                session: uplink.session,
                sequence: uplink.sequence,
                result: if ok { UplinkResult::Ok } else { UplinkResult::Retry },
                retry_after_ms: 0,
            },
            ToCluster::Assert(request) => {
                let user = number(&request.address);
                let outcome = match self.routes.get(&user) {
                    // The register takes nothing from an incarnation that has ended.
                    _ if !ok || !self.identity.made(&request.route) => AssertOutcome::Failed,
                    Some(route) if route.stamp > request.route.stamp => AssertOutcome::Displaced,
                    _ => {
                        self.routes.insert(user, request.route);
                        AssertOutcome::Current
                    }
                };
                Answer::Assert { bind: request.bind, stamp: request.route.stamp, outcome }
            }
            ToCluster::Presence { .. } | ToCluster::Refilled { .. } => return,
        };
        self.answers.push(answer);
    }

    fn bind(&mut self, address: &Address, id: BindId) -> BindOutcome {
        // D1
        self.must_know(id.session, number(address));
        self.stamps += 1;
        let stamp = Stamp { generation: 1, counter: self.stamps };
        let Identity { node, incarnation } = self.identity;
        let route = Route { stamp, node, incarnation, session: id.session };
        let before = self.routes.insert(number(address), route);
        if let Some(before) = before.filter(|before| before.session != id.session) {
            self.tell_displaced(address, before);
        }
        BindOutcome::Bound(Bound {
            route,
            window: self.window,
            ack_timeout_ms: 700,
            max_heartbeat_s: 0,
            queueing: self.queueing(),
            presence: true,
        })
    }

    /// The product changes its mind from bind to bind.
    fn queueing(&self) -> Queueing {
        let slow_reader = if self.stamps.is_multiple_of(2) { SlowReader::Close } else { SlowReader::Inbox };
        let max_queued_bytes = if self.stamps.is_multiple_of(3) { OUTPUT / 2 } else { 0 };
        Queueing { slow_reader, max_queued_bytes }
    }

    fn load(&self, request: LoadRequest, ok: bool) -> Answer {
        let LoadRequest { bind, number: load, address, limit, max_bytes, except, .. } = request;
        let user = number(&address);
        let waiting = self.store.iter().filter(|((u, id), _)| *u == user && !except.contains(id));
        let mut waiting = waiting.map(|(_, message)| message).peekable();
        let mut messages: Vec<Message> = Vec::new();
        let mut bytes = 0;
        while messages.len() < limit as usize
            && let Some(message) =
                waiting.next_if(|m| messages.is_empty() || bytes + m.payload.len() <= max_bytes as usize)
        {
            bytes += message.payload.len();
            messages.push(message.clone());
        }
        let loaded = Loaded { messages, more: waiting.peek().is_some() };
        Answer::Load { bind, number: load, result: if ok { Ok(loaded) } else { Err(Failed) } }
    }
}

fn unavailable() -> BindOutcome {
    BindOutcome::Refused(Refusal {
        result: BindResult::Unavailable,
        retry_after_ms: 10,
        detail: "nobody is there".to_owned(),
    })
}

/// The address, if the question is for the register.
fn register_operation(question: &ToCluster) -> Option<usize> {
    match question {
        ToCluster::Bind(request) => Some(number(&request.address)),
        ToCluster::Unbind { address, .. } => Some(number(address)),
        ToCluster::Assert(request) => Some(number(&request.address)),
        _ => None,
    }
}
