//! A ledger and a story that is told to it. Times are in milliseconds of the story, which begins an hour ago.

use longline_load_truth::{
    Allowed, Clock, Counts, Findings, Graces, Header, Kind, Ledger, LedgerOptions, Micros, Plan, Receipt,
    Received, Verdict,
};

pub(crate) const RUN: u32 = 77;
pub(crate) const AGENT: u16 = 3;
/// The first user's number.
pub(crate) const FIRST: u32 = 100;

/// A unicast's properties.
#[derive(Clone, Copy, Default)]
pub(crate) struct Class {
    pub(crate) stream: u16,
    pub(crate) transient: bool,
    pub(crate) ttl: Option<u64>,
}

pub(crate) struct Story {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    start: Micros,
}

impl Story {
    /// With so many users, from [`FIRST`], all online on connection 1 since 0 ms.
    pub(crate) fn new(users: u32) -> Story {
        let clock = Clock::new();
        let graces = Graces::default();
        let options = LedgerOptions { run: RUN, agent: AGENT, users: FIRST..FIRST + users, clock, graces };
        let story = Story { ledger: Ledger::new(options), clock, start: clock.now() - 3_600_000_000 };
        for user in FIRST..FIRST + users {
            story.ledger.bound(user, 1, story.at(0));
        }
        story
    }

    pub(crate) fn at(&self, ms: u64) -> Micros {
        self.start + ms * 1_000
    }

    /// The present, in milliseconds of the story.
    pub(crate) fn now(&self) -> u64 {
        (self.clock.now() - self.start) / 1_000
    }

    /// Plans and sends.
    pub(crate) fn send(&self, user: u32, class: Class, ms: u64) -> Header {
        let Class { stream, transient, ttl } = class;
        let due = self.at(ms);
        let expires = ttl.map(|ttl| due + ttl * 1_000);
        let header = self.ledger.plan(Plan { user, due, stream, transient, expires });
        self.ledger.sent(&header, due);
        header
    }

    pub(crate) fn accept(&self, header: &Header, id: u64, ms: u64) {
        self.ledger.accepted(header.sequence, id, self.at(ms));
    }

    /// Sends and sees it accepted 1 ms later.
    pub(crate) fn accepted(&self, user: u32, id: u64, ms: u64) -> Header {
        let header = self.send(user, Class::default(), ms);
        self.accept(&header, id, ms + 1);
        header
    }

    pub(crate) fn push(&self, user: u32, connection: u32, header: &Header, id: u64, ms: u64) -> Receipt {
        self.push_as(user, connection, header, id, false, ms)
    }

    pub(crate) fn push_as(
        &self,
        user: u32,
        connection: u32,
        header: &Header,
        id: u64,
        marked: bool,
        ms: u64,
    ) -> Receipt {
        let mut payload = Vec::new();
        header.payload(64, &mut payload);
        let push = Received { id, payload: &payload, redelivered: marked };
        self.ledger.received(user, connection, &push, self.at(ms))
    }

    pub(crate) fn ack(&self, user: u32, connection: u32, receipt: Receipt, ms: u64) {
        self.ledger.acked(user, connection, &[receipt], self.at(ms));
    }

    /// Ends one connection and, later, begins another.
    pub(crate) fn reconnect(&self, user: u32, (old, ended): (u32, u64), (new, bound): (u32, u64)) {
        self.ledger.disconnected(user, old, self.at(ended));
        self.ledger.bound(user, new, self.at(bound));
    }

    pub(crate) fn findings(&self) -> Findings {
        self.ledger.findings(10)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.findings().counts
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::judge(&self.findings(), Allowed::default())
    }
}

/// A broadcast's header, as the controller makes it.
pub(crate) fn broadcast(number: u64, due: Micros) -> Header {
    Header { run: RUN, agent: u16::MAX, kind: Kind::Broadcast, user: u32::MAX, sequence: number, due }
}

/// The faults: lost, unreachable, duplicated, reordered, foreign, late.
pub(crate) fn faults(counts: &Counts) -> [u64; 6] {
    [counts.lost, counts.unreachable, counts.duplicated, counts.reordered, counts.foreign, counts.late]
}

pub(crate) const NONE: [u64; 6] = [0; 6];
