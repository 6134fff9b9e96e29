//! A device's connection as its account sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longline_pb::client::Push;
use tokio::sync::Notify;

use crate::message::Message;

/// Messages in flight without acknowledgement.
pub(crate) const WINDOW: usize = 256;
/// Messages that are pushed once and not kept; the oldest go first.
const PASSING: usize = 1_000;

/// A device that is there.
#[derive(Debug)]
pub(crate) struct Session {
    /// Unique among all connections.
    pub(crate) connection: u64,
    pub(crate) device: String,
    pub(crate) counter: u64,
    /// Tells the connection that there is something to pull, or that it was displaced.
    pub(crate) wake: Arc<Notify>,
    /// Ids of the inbox to push on this connection.
    pub(crate) unpushed: BTreeSet<u64>,
    /// Ids pushed on this connection and not acknowledged.
    pub(crate) in_flight: BTreeSet<u64>,
    /// What is pushed once and kept nowhere.
    passing: BTreeMap<u64, Message>,
}

/// What a connection is to do next.
#[derive(Debug, Default)]
pub(crate) struct Pulled {
    pub(crate) pushes: Vec<Push>,
    /// When to pull again at the latest, in Unix milliseconds.
    pub(crate) again_at_ms: Option<u64>,
}

impl Session {
    pub(crate) fn new(connection: u64, device: String, counter: u64, wake: Arc<Notify>) -> Session {
        Session {
            connection,
            device,
            counter,
            wake,
            unpushed: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            passing: BTreeMap::new(),
        }
    }

    /// Takes a message that is pushed once and kept nowhere.
    pub(crate) fn pass(&mut self, message: Message) {
        self.passing.insert(message.id, message);
        if self.passing.len() > PASSING {
            self.passing.pop_first();
        }
        self.wake.notify_one();
    }

    /// Takes an id of the inbox.
    pub(crate) fn offer(&mut self, id: u64) {
        self.unpushed.insert(id);
        self.wake.notify_one();
    }

    pub(crate) fn has_space(&self) -> bool {
        self.in_flight.len() < WINDOW
    }

    /// The next message of those that pass, unless one of the inbox comes first.
    pub(crate) fn next_passing(&mut self) -> Option<Message> {
        let first = self.passing.first_entry()?;
        match self.unpushed.first() {
            Some(id) if id < first.key() => None,
            _ => Some(first.remove()),
        }
    }
}
