//! All accounts, ids, and what is done wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use longline_types::{User, now_ms};
use tokio::sync::Notify;

use crate::account::{Account, Gone, Scene};
use crate::faults::{Chooser, Committed, Faults, Mark};
use crate::message::{Kind, Message};
use crate::repeats::Repeats;
use crate::session::{Pulled, Session};

/// Users that are known. Beyond them there are no new ones.
const ACCOUNTS: usize = 200_000;
/// Only messages that expire soon are late within a test's time.
const SOON_MS: u64 = 10_000;

/// The state of a server.
#[derive(Debug)]
pub(crate) struct Server {
    accounts: BTreeMap<User, Account>,
    repeats: Repeats,
    last_id: u64,
    last_connection: u64,
    last_broadcast: u64,
    forget_offline: bool,
    foreign: bool,
    chooser: Chooser,
    committed: Committed,
}

/// A message as the API takes it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) payload: Bytes,
    pub(crate) transient: bool,
    pub(crate) ttl_ms: u64,
    /// Empty: none.
    pub(crate) key: String,
    pub(crate) digest: u64,
    /// Whose request it is.
    pub(crate) asker: SocketAddr,
}

/// Why a message is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The inbox or the server is full.
    Full,
    /// The key was used for another request.
    Conflict,
}

/// A bind that was refused: a newer connection of the same device has the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stale;

impl Server {
    pub(crate) fn new(faults: Faults) -> Server {
        Server {
            accounts: BTreeMap::new(),
            repeats: Repeats::default(),
            last_id: 0,
            last_connection: 0,
            last_broadcast: 0,
            forget_offline: faults.forget_offline,
            foreign: faults.foreign_one_in.is_some(),
            chooser: Chooser::new(&faults),
            committed: Committed::default(),
        }
    }

    pub(crate) fn committed(&self) -> Committed {
        self.committed
    }

    pub(crate) fn waiting(&self) -> usize {
        self.accounts.values().map(Account::waiting).sum()
    }

    /// Whether a device of the user is there, and how much waits.
    pub(crate) fn user(&self, user: &User) -> (bool, usize) {
        self.accounts.get(user).map_or((false, 0), |a| (a.session.is_some(), a.waiting()))
    }

    /// Takes a message to a user. The id is the answer, whatever becomes of the message.
    pub(crate) fn send(&mut self, user: &User, sent: &Sent) -> Result<u64, Refusal> {
        if let Some(repeated) = self.repeats.find(&sent.key, Some(user), sent.digest) {
            return repeated;
        }
        let is_new = !self.accounts.contains_key(user);
        if is_new && self.accounts.len() >= ACCOUNTS {
            return Err(Refusal::Full);
        }
        let now_ms = now_ms();
        let id = self.id(now_ms);
        let message = Message {
            id,
            payload: sent.payload.clone(),
            sent_at_ms: now_ms,
            expires_at_ms: now_ms + sent.ttl_ms,
            kind: if sent.transient { Kind::Transient } else { Kind::Durable },
            mark: None,
            written: false,
        };
        if sent.transient {
            let session = self.accounts.get_mut(user).and_then(|account| account.session.as_mut());
            if let Some(session) = session {
                session.pass(message);
            }
        } else {
            self.keep(user, message, sent)?;
        }
        self.repeats.note(&sent.key, Some(user), sent.digest, id);
        Ok(id)
    }

    /// Takes a message to everybody who has ever connected.
    pub(crate) fn broadcast(&mut self, sent: &Sent) -> Result<u64, Refusal> {
        if let Some(repeated) = self.repeats.find(&sent.key, None, sent.digest) {
            return repeated;
        }
        if self.accounts.values().any(|account| account.known && account.is_full()) {
            return Err(Refusal::Full);
        }
        let now_ms = now_ms();
        let id = self.id(now_ms);
        self.last_broadcast += 1;
        let message = Message {
            id,
            payload: sent.payload.clone(),
            sent_at_ms: now_ms,
            expires_at_ms: now_ms + sent.ttl_ms,
            kind: Kind::Broadcast(self.last_broadcast),
            mark: None,
            written: false,
        };
        let Server { accounts, chooser, committed, .. } = self;
        for account in accounts.values_mut().filter(|account| account.known) {
            if chooser.loses_broadcast() {
                committed.broadcasts_lost += 1;
                continue;
            }
            account.store(message.clone(), sent.asker, &mut Scene { now_ms, chooser, committed });
        }
        self.repeats.note(&sent.key, None, sent.digest, id);
        Ok(id)
    }

    /// Gives the user's messages to a new connection, whose number is the answer; whoever had them is told.
    pub(crate) fn bind(
        &mut self,
        user: &User,
        device: &str,
        counter: u64,
        wake: Arc<Notify>,
    ) -> Result<u64, Stale> {
        self.last_connection += 1;
        let connection = self.last_connection;
        let Server { accounts, chooser, committed, .. } = self;
        let account = accounts.entry(user.clone()).or_default();
        let is_newer = |session: &Session| session.device == device && session.counter >= counter;
        if account.session.as_ref().is_some_and(is_newer) {
            return Err(Stale);
        }
        let session = Session::new(connection, device.to_owned(), counter, wake);
        let displaced = account.bind(session, &mut Scene { now_ms: now_ms(), chooser, committed });
        if let Some(displaced) = displaced {
            displaced.wake.notify_one();
        }
        Ok(connection)
    }

    /// What the connection is to push now.
    pub(crate) fn pull(&mut self, user: &User, connection: u64) -> Result<Pulled, Gone> {
        let Server { accounts, chooser, committed, .. } = self;
        let account = accounts.get_mut(user).ok_or(Gone::Crashed)?;
        account.pull(connection, &mut Scene { now_ms: now_ms(), chooser, committed })
    }

    pub(crate) fn ack(&mut self, user: &User, connection: u64, ids: &[u64]) {
        if let Some(account) = self.accounts.get_mut(user) {
            account.ack(connection, ids, now_ms());
        }
    }

    /// The connection has ended, if it still had the user.
    pub(crate) fn unbind(&mut self, user: &User, connection: u64) {
        let Server { accounts, chooser, committed, .. } = self;
        let Some(account) = accounts.get_mut(user) else { return };
        if account.session.as_ref().is_some_and(|session| session.connection == connection) {
            account.unbind(&mut Scene { now_ms: now_ms(), chooser, committed });
        }
    }

    /// Ends every session; forgets the inboxes if it is one that forgets.
    pub(crate) fn crash(&mut self) {
        let Server { accounts, chooser, committed, .. } = self;
        for account in accounts.values_mut() {
            account.unbind(&mut Scene { now_ms: now_ms(), chooser, committed });
            if !self.forget_offline {
                continue;
            }
            for message in account.forget() {
                match message.kind {
                    _ if message.written => committed.forgotten_in_flight += 1,
                    Kind::Broadcast(_) => committed.broadcasts_lost += 1,
                    _ => committed.forgotten += 1,
                }
            }
        }
    }

    /// Stores a durable message, or does something wrong with it.
    fn keep(&mut self, user: &User, mut message: Message, sent: &Sent) -> Result<(), Refusal> {
        let other = if self.foreign { self.another_online(user) } else { None };
        let Server { accounts, chooser, committed, .. } = self;
        let account = accounts.entry(user.clone()).or_default();
        if account.is_full() {
            return Err(Refusal::Full);
        }
        if self.forget_offline && account.session.is_none() {
            committed.forgotten += 1;
            return Ok(());
        }
        message.mark = chooser.next(|mark| match mark {
            Mark::Foreign => other.is_some(),
            Mark::Reorder => account.can_hold(),
            Mark::Late => sent.ttl_ms <= SOON_MS,
            Mark::Drop | Mark::Duplicate | Mark::Resurrect => true,
        });
        if message.mark == Some(Mark::Drop) {
            committed.dropped += 1;
            return Ok(());
        }
        let copy = Some(message.clone()).filter(|message| message.mark == Some(Mark::Foreign));
        let now_ms = message.sent_at_ms;
        account.store(message, sent.asker, &mut Scene { now_ms, chooser, committed });
        let other = other.and_then(|other| accounts.get_mut(&other)?.session.as_mut());
        if let (Some(copy), Some(session)) = (copy, other) {
            session.pass(copy);
        }
        Ok(())
    }

    /// The next user after this one who is connected.
    fn another_online(&self, user: &User) -> Option<User> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.accounts.range((Excluded(user), Unbounded));
        let before = self.accounts.range((Unbounded, Excluded(user)));
        let mut others = after.chain(before);
        others.find(|(_, account)| account.session.is_some()).map(|(other, _)| other.clone())
    }

    /// Rises with time.
    fn id(&mut self, now_ms: u64) -> u64 {
        self.last_id = (self.last_id + 1).max(now_ms << 20);
        self.last_id
    }
}
