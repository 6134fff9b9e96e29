//! Emptying the room: who wants it, and how it goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longline_boot::Health;
use longline_member::Member;
use longline_types::{CloseReason, NodeState};
use prometheus::IntGauge;

use super::load::CountSessions;
use super::signpost::Signpost;
use crate::DrainConfig;
use crate::link::{Command, Drain, ShardSender};

/// Between two tries to give a shard a command whose queue is full.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a room is emptied. There may be several reasons at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The process stops.
    Stop,
    /// An operator wants it.
    Command,
    /// The room has lost its cluster (R4).
    Isolation,
}

/// Begins departures and calls them off.
pub(crate) struct Departures {
    config: DrainConfig,
    member: Member,
    health: Health,
    signpost: Arc<Signpost>,
    shards: Vec<ShardSender>,
    sessions: CountSessions,
    gauge: IntGauge,
    causes: Mutex<Vec<Cause>>,
}

/// What departures stand on.
pub(crate) struct Parts {
    pub(crate) config: DrainConfig,
    pub(crate) member: Member,
    pub(crate) health: Health,
    pub(crate) signpost: Arc<Signpost>,
    pub(crate) shards: Vec<ShardSender>,
    pub(crate) sessions: CountSessions,
    pub(crate) gauge: IntGauge,
}

impl Departures {
    pub(crate) fn new(parts: Parts) -> Departures {
        let Parts { config, member, health, signpost, shards, sessions, gauge } = parts;
        Departures { config, member, health, signpost, shards, sessions, gauge, causes: Mutex::default() }
    }

    /// Begins to empty the room, unless it is being emptied for this reason already. An ordered stop begins anew whatever went
    /// before: it has a deadline of its own.
    pub(crate) async fn begin(&self, cause: Cause) {
        let goes_on = {
            let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
            if causes.contains(&cause) {
                return;
            }
            let goes_on = !causes.is_empty() && cause != Cause::Stop;
            causes.push(cause);
            goes_on
        };
        self.show();
        if goes_on {
            return;
        }
        let drain = self.plan(cause);
        tracing::info!(
            ?cause, sessions = (self.sessions)(), spread = ?drain.spread,
            asked = drain.guide.is_some(), "the room is being emptied"
        );
        self.command_all(|| Command::Drain(drain.clone())).await;
    }

    /// The reason is gone. If it was the last, the room takes sessions again.
    pub(crate) async fn end(&self, cause: Cause) {
        let none_left = {
            let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
            let before = causes.len();
            causes.retain(|c| *c != cause);
            before > 0 && causes.is_empty()
        };
        self.show();
        if none_left {
            tracing::info!(?cause, "the room takes sessions again");
            self.command_all(|| Command::Resume).await;
        }
    }

    /// Tells everybody who asks: the keeper and with it dispatchers and operators, the health check, the metrics.
    fn show(&self) {
        let causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauge.set(i64::from(!causes.is_empty()));
        let ordered = [Cause::Stop, Cause::Command].into_iter().find(|cause| causes.contains(cause));
        match ordered {
            Some(Cause::Stop) => self.health.not_ready("is stopping"),
            Some(_) => self.health.not_ready("is drained: an operator has said so"),
            None => self.health.ready(),
        }
        self.member.set_state(if ordered.is_some() { NodeState::Draining } else { NodeState::Ready });
    }

    fn plan(&self, cause: Cause) -> Drain {
        // Without another room to go to, a session is served best until the room stops; then it is told when to come back.
        let asks = cause != Cause::Stop || self.signpost.leads_somewhere();
        Drain {
            reason: if cause == Cause::Isolation { CloseReason::Isolated } else { CloseReason::GoingAway },
            guide: asks.then(|| self.signpost.clone() as _),
            spread: self.config.spread((self.sessions)()),
            leave: self.config.leave(),
            grace: self.config.grace(),
            deadline: match cause {
                Cause::Stop => self.config.deadline(),
                // Nobody waits for it: it takes as long as it takes.
                Cause::Command | Cause::Isolation => {
                    self.config.spread((self.sessions)()) + self.config.leave() + self.config.grace()
                }
            },
        }
    }

    /// A command to every shard, however full its queue is.
    pub(crate) async fn command_all(&self, command: impl Fn() -> Command) {
        for shard in &self.shards {
            while shard.command(command()).is_err() && !shard.is_closed() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Waits until the room is empty, at most as long as an ordered stop may take.
    pub(crate) async fn finished(&self) {
        let empty = async {
            while (self.sessions)() > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        };
        // A little more than the shards take, so that theirs is the last word.
        let patience = self.config.deadline() + Duration::from_millis(500);
        if tokio::time::timeout(patience, empty).await.is_err() {
            tracing::warn!(sessions = (self.sessions)(), "sessions were still open at the deadline");
        }
    }
}
