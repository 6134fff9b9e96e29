//! One address of a session.

use longline_types::{Address, MessageId, Stamp};

use super::flight::Flight;
use crate::EngineConfig;

/// An address that the device wants to be, or is.
pub(crate) struct Bind {
    pub(crate) address: Address,
    pub(crate) standing: Standing,
    pub(crate) inbox: Inbox,
    /// It waits in the shard's line to load.
    pub(crate) in_line: bool,
    /// The business was told that the user is online.
    pub(crate) announced: bool,
    /// The product wants to be told.
    pub(crate) presence: bool,
    /// Failures of loads or renewals in a row.
    pub(crate) failures: u8,
    /// The device's number for it.
    pub(crate) index: u8,
    /// Tells it from others under the same index.
    pub(crate) serial: u16,
    /// Of the latest load.
    pub(crate) load_number: u16,
    pub(crate) window: u16,
    pub(crate) ack_timeout_ms: u32,
    /// The device's own "last seen" broadcast.
    pub(crate) seen_broadcast: u64,
    /// Highest sequence of a broadcast pushed here.
    pub(crate) pushed_broadcast: u64,
    /// Highest id of a unicast that a load has brought.
    pub(crate) loaded: MessageId,
    flight: Option<Box<Flight>>,
}

/// How the bind stands with the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The cluster was asked. If a displacement of one of its routes comes first, the highest such stamp is noted.
    Asking { displaced: Stamp },
    /// The register has it under this stamp, given under this incarnation of the room ([`Env::epoch`](super::Env)).
    Held { stamp: Stamp, epoch: u32 },
    /// It was held under an earlier incarnation of the room (R4), and is to be asked anew at this time.
    Lost { retry_at: u64 },
    /// Likewise, and the cluster was asked.
    Renewing { displaced: Stamp },
}

/// Whether the store may have something that the device does not have (D3, D4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inbox {
    /// Nothing that is not in flight: a hint may be pushed at once.
    Clean,
    /// Something may wait; it is loaded, not before this time.
    Dirty { not_before: u64 },
    /// A load is under way since then. `again`: something may have come after it was sent.
    Loading { since: u64, again: bool },
}

impl Bind {
    pub(crate) fn new(index: u8, serial: u16, address: Address, seen_broadcast: u64) -> Bind {
        Bind {
            address,
            standing: Standing::Asking { displaced: Stamp::default() },
            inbox: Inbox::Dirty { not_before: 0 },
            in_line: false,
            announced: false,
            presence: false,
            failures: 0,
            index,
            serial,
            load_number: 0,
            window: 1,
            ack_timeout_ms: u32::MAX,
            seen_broadcast,
            pushed_broadcast: 0,
            loaded: MessageId(0),
            flight: None,
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held { .. })
    }

    /// It has not stood yet; when it does, it loads (D1).
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.standing, Standing::Asking { .. })
    }

    /// Its stamp, if the register has given it one under this incarnation.
    pub(crate) fn stamp(&self, current_epoch: u32) -> Option<Stamp> {
        match self.standing {
            Standing::Held { stamp, epoch } if epoch == current_epoch => Some(stamp),
            _ => None,
        }
    }

    /// Something may wait in the store.
    pub(crate) fn mark_dirty(&mut self) {
        self.inbox = match self.inbox {
            Inbox::Clean => Inbox::Dirty { not_before: 0 },
            Inbox::Dirty { not_before } => Inbox::Dirty { not_before },
            Inbox::Loading { since, .. } => Inbox::Loading { since, again: true },
        };
    }

    /// Whether a hint may be pushed at once, if the output has space: clean, and the window has space (D3, D5).
    pub(crate) fn is_open(&self) -> bool {
        self.is_held() && self.inbox == Inbox::Clean && !self.is_blocked() && self.free() > 0
    }

    /// Messages that the window has space for.
    pub(crate) fn free(&self) -> u16 {
        self.window.saturating_sub(self.flight.as_ref().map_or(0, |f| f.written()))
    }

    /// Nothing is to be pushed: the device does not acknowledge in time (D5), or our own way to the saver is far behind.
    pub(crate) fn is_blocked(&self) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|f| f.is_stalled() || f.unconfirmed() >= most_unconfirmed(self.window))
    }

    /// Whether a load should be sent: dirty, its wait is over, and half of the window is free (D5).
    pub(crate) fn wants_load(&self, now_ms: u64) -> bool {
        let due = matches!(self.inbox, Inbox::Dirty { not_before } if not_before <= now_ms);
        due && self.is_held() && !self.is_blocked() && self.free() >= self.window.div_ceil(2)
    }

    /// When it should be looked at again, if nothing happens before. Of a `parked` session nothing is loaded.
    pub(crate) fn deadline(&self, config: &EngineConfig, now_ms: u64, parked: bool) -> Option<u64> {
        let inbox = match self.inbox {
            _ if parked => None,
            Inbox::Loading { since, .. } => Some(since + u64::from(config.load_deadline_ms)),
            Inbox::Dirty { not_before } if not_before > now_ms => Some(not_before),
            // The session or its shard has too much unwritten to load more.
            Inbox::Dirty { .. } if !self.in_line && self.wants_load(now_ms) => {
                Some(now_ms + u64::from(config.retry_ms.max(1)))
            }
            _ => None,
        };
        let standing = match self.standing {
            Standing::Lost { retry_at } => Some(retry_at),
            _ => None,
        };
        let flight = self.flight.as_ref().and_then(|f| f.deadline(self.ack_timeout_ms));
        inbox.into_iter().chain(standing).chain(flight).min()
    }

    /// The connection broke (D8): a load under way is given up, and what was in flight is due. Whether a load was.
    pub(crate) fn interrupt(&mut self) -> bool {
        if self.flight.is_some() {
            self.with_flight(Flight::interrupt);
        }
        let was_loading = matches!(self.inbox, Inbox::Loading { .. });
        if was_loading {
            self.inbox = Inbox::Dirty { not_before: 0 };
        }
        was_loading
    }

    /// Bytes of memory that it takes beside itself.
    pub(crate) fn memory(&self) -> usize {
        self.address.user.as_str().len() + self.flight.as_ref().map_or(0, |f| f.memory())
    }

    pub(crate) fn flight(&self) -> Option<&Flight> {
        self.flight.as_deref()
    }

    /// Changes the flight, which exists afterwards only if something is in it.
    pub(crate) fn with_flight<T>(&mut self, change: impl FnOnce(&mut Flight) -> T) -> T {
        let flight = self.flight.get_or_insert_default();
        let result = change(flight);
        if flight.is_empty() {
            self.flight = None;
        }
        result
    }
}

/// Acknowledged messages that the saver may owe us before the bind pushes no more.
fn most_unconfirmed(window: u16) -> usize {
    (4 * usize::from(window)).max(64)
}
