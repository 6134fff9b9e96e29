//! Which node to try next, and when to stop trying: one policy for unary calls and pipelines.

use std::time::Duration;

use longline_types::{Error, ErrorCode, Node, Role};
use tokio::time::Instant;

use crate::Peers;

/// The tries of one call on whichever node of a role.
pub(crate) struct Attempts {
    peers: Peers,
    role: Role,
    key: u64,
    until: Instant,
    idempotent: bool,
    tried: Vec<u64>,
    rounds: u32,
}

pub(crate) enum Next {
    /// Ask this node, until then.
    Try { node: Node, until: Instant },
    /// The call has failed.
    GiveUp(Error),
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A node that is alive and silent gets this long before an idempotent request is given to another.
const PATIENCE: Duration = Duration::from_secs(3);

impl Attempts {
    pub(crate) fn new(peers: Peers, role: Role, key: u64, deadline: Duration, idempotent: bool) -> Attempts {
        let until = Instant::now() + deadline;
        Attempts { peers, role, key, until, idempotent, tried: Vec::new(), rounds: 0 }
    }

    /// Whether the request may be sent again after this failure.
    pub(crate) fn may_retry(&self, error: &Error) -> bool {
        match error.code {
            ErrorCode::Unavailable => true,
            ErrorCode::DeadlineExceeded => self.idempotent,
            _ => false,
        }
    }

    /// The best node not tried in this round; after a whole round a pause, then all again.
    pub(crate) async fn next(&mut self, last: Option<Error>) -> Next {
        if let Some(error) = &last
            && !self.may_retry(error)
        {
            return Next::GiveUp(error.clone());
        }
        loop {
            let now = Instant::now();
            if now >= self.until {
                return Next::GiveUp(last.unwrap_or_else(|| self.nobody()));
            }
            let view = self.peers.view();
            let ranked = view.ranked(self.role, self.key);
            if let Some(node) = ranked.iter().find(|n| !self.tried.contains(&n.incarnation)) {
                self.tried.push(node.incarnation);
                let until = if self.idempotent { self.until.min(now + PATIENCE) } else { self.until };
                return Next::Try { node: (*node).clone(), until };
            }
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        self.tried.clear();
        let pause = (FIRST_PAUSE * 2u32.saturating_pow(self.rounds)).min(LONGEST_PAUSE);
        self.rounds = (self.rounds + 1).min(16);
        let mut views = self.peers.views();
        views.mark_unchanged();
        let pause_until = self.until.min(Instant::now() + pause);
        // A new view may bring a node at once.
        let _ = tokio::time::timeout_at(pause_until, views.changed()).await;
    }

    fn nobody(&self) -> Error {
        Error::unavailable(format!("no {} is ready in view {}", self.role, self.peers.view().number))
    }
}
