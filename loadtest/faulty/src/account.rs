//! A user's inbox, and what is done wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::faults::{Chooser, Committed, Faults, Mark};
use crate::message::{Kind, Message};
use crate::session::{Pulled, Session};

/// Messages that wait for a user. Beyond them it takes none.
pub(crate) const INBOX: usize = 10_000;
/// Acknowledged messages that are kept to come again.
const GHOSTS: usize = 1_000;
/// A request that begins this long after an answer was sent by a client that has read it.
const READ_MS: u64 = 100;
/// How long a message is held back for a later one to overtake it.
const HOLD_MS: u64 = 2_000;

/// A user who has connected or has something waiting.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// A device has bound it: it gets broadcasts from then on.
    pub(crate) known: bool,
    pub(crate) session: Option<Session>,
    inbox: BTreeMap<u64, Message>,
    held: Option<Held>,
    /// When to push what is late: milliseconds and id.
    late: BTreeSet<(u64, u64)>,
    ghosts: Vec<Ghost>,
}

/// A message that is to be overtaken.
#[derive(Debug)]
struct Held {
    id: u64,
    /// When its answer was made, and to whom.
    answered_ms: u64,
    asker: SocketAddr,
    until_ms: u64,
    /// The message that overtakes it.
    behind: Option<u64>,
}

/// An acknowledged message that comes again.
#[derive(Debug)]
struct Ghost {
    message: Message,
    acked_at_ms: u64,
    /// Its connection has ended, long enough after.
    ready: bool,
}

/// Why a connection has its account no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// Another connection has it.
    Displaced,
    /// Nobody has: the server has crashed.
    Crashed,
}

/// The server's part in what an account does.
pub(crate) struct Scene<'a> {
    pub(crate) now_ms: u64,
    pub(crate) chooser: &'a mut Chooser,
    pub(crate) committed: &'a mut Committed,
}

impl Account {
    pub(crate) fn waiting(&self) -> usize {
        self.inbox.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.inbox.len() >= INBOX
    }

    /// Keeps a message until it is acknowledged; `asker` sent it.
    pub(crate) fn store(&mut self, message: Message, asker: SocketAddr, scene: &mut Scene<'_>) {
        let (id, mark) = (message.id, message.mark);
        let due_ms = message.expires_at_ms + Faults::LATE_BY_MS;
        if message.kind == Kind::Durable && mark != Some(Mark::Late) {
            self.overtake(id, asker, scene);
        }
        self.inbox.insert(id, message);
        match (mark, &mut self.session) {
            (Some(Mark::Late), session) => {
                self.late.insert((due_ms, id));
                if let Some(session) = session {
                    session.wake.notify_one();
                }
            }
            (Some(Mark::Reorder), Some(session)) => {
                let until_ms = scene.now_ms + HOLD_MS;
                self.held = Some(Held { id, answered_ms: scene.now_ms, asker, until_ms, behind: None });
                session.wake.notify_one();
            }
            (_, Some(session)) => session.offer(id),
            (_, None) => {}
        }
    }

    /// Whether a message can be held back to be overtaken.
    pub(crate) fn can_hold(&self) -> bool {
        self.session.is_some() && self.held.is_none()
    }

    /// A device is there. What waits is pushed to it, the oldest first.
    pub(crate) fn bind(&mut self, mut session: Session, scene: &mut Scene<'_>) -> Option<Session> {
        let old = self.unbind(scene);
        self.known = true;
        let late: BTreeSet<u64> = self.late.iter().map(|(_, id)| *id).collect();
        session.unpushed = self.inbox.keys().copied().filter(|id| !late.contains(id)).collect();
        let (ready, waiting) = std::mem::take(&mut self.ghosts).into_iter().partition(|ghost| ghost.ready);
        self.ghosts = waiting;
        for Ghost { message, .. } in ready {
            session.pass(message);
        }
        session.wake.notify_one();
        self.session = Some(session);
        old
    }

    /// The device is gone.
    pub(crate) fn unbind(&mut self, scene: &mut Scene<'_>) -> Option<Session> {
        self.release(scene);
        let now_ms = scene.now_ms;
        self.ghosts.retain_mut(|ghost| {
            ghost.ready |= now_ms >= ghost.acked_at_ms + Faults::RESURRECT_AFTER_MS;
            if !ghost.ready {
                scene.chooser.give_back(Mark::Resurrect);
            }
            ghost.ready
        });
        self.session.take()
    }

    /// What is to be pushed now on this connection.
    pub(crate) fn pull(&mut self, connection: u64, scene: &mut Scene<'_>) -> Result<Pulled, Gone> {
        match &self.session {
            Some(session) if session.connection == connection => {}
            Some(_) => return Err(Gone::Displaced),
            None => return Err(Gone::Crashed),
        }
        if self.held.as_ref().is_some_and(|held| held.behind.is_none() && scene.now_ms >= held.until_ms) {
            self.release(scene);
        }
        let mut pulled = Pulled::default();
        self.pull_late(&mut pulled, scene);
        let Some(mut session) = self.session.take() else { return Err(Gone::Crashed) };
        while session.has_space() {
            if let Some(mut message) = session.next_passing() {
                count_passing(&mut message, scene.committed);
                pulled.pushes.push(message.push());
                continue;
            }
            let Some(id) = session.unpushed.pop_first() else { break };
            let pushed = self.push(id, &mut session, &mut pulled, scene);
            if let Some(held) = self.held.take_if(|held| held.behind == Some(id)) {
                let overtaken = self.push(held.id, &mut session, &mut pulled, scene) && pushed;
                scene.committed.reordered += u64::from(overtaken);
            }
        }
        self.session = Some(session);
        let late = self.late.first().map(|(at_ms, _)| *at_ms);
        let held = self.held.as_ref().filter(|held| held.behind.is_none()).map(|held| held.until_ms);
        pulled.again_at_ms = late.into_iter().chain(held).min();
        Ok(pulled)
    }

    /// The device has these safe.
    pub(crate) fn ack(&mut self, connection: u64, ids: &[u64], now_ms: u64) {
        let session = self.session.as_mut().filter(|session| session.connection == connection);
        let Some(session) = session else { return };
        for id in ids.iter().filter(|id| session.in_flight.remove(id)) {
            let Some(mut message) = self.inbox.remove(id) else { continue };
            if message.mark == Some(Mark::Resurrect) && self.ghosts.len() < GHOSTS {
                message.written = true;
                self.ghosts.push(Ghost { message, acked_at_ms: now_ms, ready: false });
            }
        }
        // The window may have space again.
        session.wake.notify_one();
    }

    /// Forgets everything, and says what was there.
    pub(crate) fn forget(&mut self) -> impl Iterator<Item = Message> + use<> {
        self.late.clear();
        self.ghosts.clear();
        self.held = None;
        std::mem::take(&mut self.inbox).into_values()
    }

    /// Pushes one message of the inbox, unless it has expired. Answers whether it did.
    fn push(&mut self, id: u64, session: &mut Session, pulled: &mut Pulled, scene: &mut Scene<'_>) -> bool {
        let Some(message) = self.inbox.get_mut(&id) else { return false };
        if message.expires_at_ms <= scene.now_ms {
            self.inbox.remove(&id);
            return false;
        }
        pulled.pushes.push(message.push());
        if message.mark == Some(Mark::Duplicate) {
            message.mark = None;
            scene.committed.duplicated += 1;
            pulled.pushes.push(message.push());
        }
        message.written = true;
        session.in_flight.insert(id);
        true
    }

    /// Pushes what has expired long enough.
    fn pull_late(&mut self, pulled: &mut Pulled, scene: &mut Scene<'_>) {
        let Some(session) = &mut self.session else { return };
        while let Some((at_ms, id)) = self.late.first().copied().filter(|(at_ms, _)| *at_ms <= scene.now_ms) {
            self.late.remove(&(at_ms, id));
            if let Some(message) = self.inbox.get_mut(&id) {
                scene.committed.late += 1;
                pulled.pushes.push(message.push());
                message.written = true;
                session.in_flight.insert(id);
            }
        }
    }

    /// A new message overtakes the one that is held, if it was certainly sent after that was accepted; else the held one goes first.
    fn overtake(&mut self, id: u64, asker: SocketAddr, scene: &mut Scene<'_>) {
        match &mut self.held {
            Some(held) if held.behind.is_some() => {}
            // On one connection a client sends when it has read the answer before.
            Some(held) if held.asker == asker || scene.now_ms >= held.answered_ms + READ_MS => {
                held.behind = Some(id);
            }
            Some(_) => self.release(scene),
            None => {}
        }
    }

    /// Lets the held message go in its order, and the fault to another one.
    fn release(&mut self, scene: &mut Scene<'_>) {
        let Some(held) = self.held.take() else { return };
        scene.chooser.give_back(Mark::Reorder);
        if let Some(session) = &mut self.session {
            session.offer(held.id);
        }
    }
}

/// What passes is a fault or a transient message, and counts when it goes.
fn count_passing(message: &mut Message, committed: &mut Committed) {
    match message.mark.take() {
        Some(Mark::Foreign) => committed.foreign += 1,
        Some(Mark::Resurrect) => committed.resurrected += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    /// An account with a device, and what the server has of it.
    struct Stage {
        account: Account,
        chooser: Chooser,
        committed: Committed,
    }

    impl Stage {
        fn new() -> Stage {
            let chooser = Chooser::new(&Faults { reorder_one_in: Some(1), ..Faults::default() });
            let mut stage = Stage { account: Account::default(), chooser, committed: Committed::default() };
            let session = Session::new(1, "d".to_owned(), 1, Arc::new(Notify::new()));
            stage.at(0, |account, scene| account.bind(session, scene));
            stage
        }

        fn at<T>(&mut self, now_ms: u64, act: impl FnOnce(&mut Account, &mut Scene<'_>) -> T) -> T {
            let Stage { account, chooser, committed } = self;
            act(account, &mut Scene { now_ms, chooser, committed })
        }

        fn store(&mut self, now_ms: u64, id: u64, port: u16, mark: Option<Mark>) {
            let message = Message {
                id,
                payload: bytes::Bytes::new(),
                sent_at_ms: now_ms,
                expires_at_ms: now_ms + 100_000,
                kind: Kind::Durable,
                mark,
                written: false,
            };
            let asker = SocketAddr::from(([127, 0, 0, 1], port));
            self.at(now_ms, |account, scene| account.store(message, asker, scene));
        }

        fn pull(&mut self, now_ms: u64) -> Vec<u64> {
            let pulled = self.at(now_ms, |account, scene| account.pull(1, scene)).unwrap();
            pulled.pushes.iter().map(|push| push.id).collect()
        }
    }

    #[test]
    fn a_message_is_overtaken_only_by_one_that_was_sent_after_its_answer_was_read() {
        for (later_ms, port, order, reordered) in [
            (0, 1, [2, 1], 1),   // the same connection to the API
            (99, 2, [1, 2], 0),  // under way at the same time, perhaps
            (100, 2, [2, 1], 1), // long after
        ] {
            let mut stage = Stage::new();
            stage.store(1_000, 1, 1, Some(Mark::Reorder));
            assert!(stage.pull(1_000).is_empty(), "held back");
            stage.store(1_000 + later_ms, 2, port, None);
            assert_eq!(stage.pull(1_000 + later_ms), order, "{later_ms} ms later");
            assert_eq!(stage.committed.reordered, reordered);
        }
    }

    #[test]
    fn what_is_held_back_is_let_go_in_time() {
        let mut stage = Stage::new();
        stage.store(1_000, 1, 1, Some(Mark::Reorder));
        assert!(stage.pull(1_000 + HOLD_MS - 1).is_empty());
        assert_eq!(stage.pull(1_000 + HOLD_MS), [1]);
        assert_eq!(stage.committed, Committed::default());
    }

    #[test]
    fn an_overtaker_that_comes_late_itself_overtakes_nothing() {
        let mut stage = Stage::new();
        stage.store(1_000, 1, 1, Some(Mark::Reorder));
        stage.store(1_000, 2, 1, Some(Mark::Late));
        assert_eq!(stage.pull(1_000 + HOLD_MS), [1]);
        assert_eq!(stage.pull(1_000 + 100_000 + Faults::LATE_BY_MS), [2]);
        assert_eq!(stage.committed, Committed { late: 1, ..Committed::default() });
    }

    #[test]
    fn an_inbox_has_an_end() {
        let mut stage = Stage::new();
        (1..=INBOX as u64).for_each(|id| stage.store(1_000, id, 1, None));
        assert!(stage.account.is_full());
        let ids = stage.pull(1_000);
        assert_eq!(ids.len(), crate::session::WINDOW, "and a device's window too");
        stage.account.ack(1, &ids, 1_000);
        assert!(!stage.account.is_full());
    }
}
