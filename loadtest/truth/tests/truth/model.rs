//! A model of a server that delivers at least once, driven at random: right, and with one fault.

use std::collections::{BTreeMap, HashMap};

use longline_load_truth::{Counts, Header, Receipt};
use proptest::prelude::*;

use crate::support::{Class, FIRST, Story, broadcast, faults};

const USERS: u32 = 4;
/// An acknowledgement has reached the server after this, unless its connection ended before; less than the ledger's grace.
const ACK_DELAY: u64 = 1_000;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send {
        user: u32,
        stream: u16,
        transient: bool,
        answer: Answer,
    },
    Broadcast {
        told_later: bool,
    },
    /// The user's device acknowledges all that it has.
    Ack {
        user: u32,
    },
    /// The server sends again, on the same connection, what is not acknowledged.
    Repeat {
        user: u32,
    },
    Drop {
        user: u32,
    },
    Return {
        user: u32,
    },
    Wait {
        ms: u64,
    },
}

/// What the API says, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    BeforePush,
    AfterPush,
    Refused,
    /// None; the message was taken or not.
    Unknown {
        taken: bool,
    },
}

/// What a wrong server does, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Lose,
    Duplicate,
    Reorder,
    Misroute,
    ChangeId,
    Garble,
    DeliverRefused,
    ForgetBroadcast,
}

const FAULTS: [Fault; 8] = [
    Fault::Lose,
    Fault::Duplicate,
    Fault::Reorder,
    Fault::Misroute,
    Fault::ChangeId,
    Fault::Garble,
    Fault::DeliverRefused,
    Fault::ForgetBroadcast,
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let user = || FIRST..FIRST + USERS;
    let answer = prop_oneof![
        4 => Just(Answer::BeforePush),
        4 => Just(Answer::AfterPush),
        1 => Just(Answer::Refused),
        1 => any::<bool>().prop_map(|taken| Answer::Unknown { taken }),
    ];
    let send = (user(), 0..2_u16, prop::bool::weighted(0.1), answer);
    prop::collection::vec(
        prop_oneof![
            8 => send.prop_map(|(user, stream, transient, answer)| Step::Send { user, stream, transient, answer }),
            1 => any::<bool>().prop_map(|told_later| Step::Broadcast { told_later }),
            4 => user().prop_map(|user| Step::Ack { user }),
            1 => user().prop_map(|user| Step::Repeat { user }),
            2 => user().prop_map(|user| Step::Drop { user }),
            3 => user().prop_map(|user| Step::Return { user }),
            3 => prop_oneof![1..20_u64, 500..5_000_u64].prop_map(|ms| Step::Wait { ms }),
        ],
        1..120,
    )
}

/// A message in an inbox.
#[derive(Clone, Copy)]
struct Stored {
    header: Header,
    pushed: bool,
    pushed_before: bool,
}

/// A user, at both ends.
#[derive(Default)]
struct User {
    connection: u32,
    online: bool,
    inbox: BTreeMap<u64, Stored>,
    /// The device's: received and not yet acknowledged.
    held: HashMap<u64, Receipt>,
    /// Acknowledgements on their way, and when they were written.
    acks: Vec<(u64, u64)>,
}

struct Server {
    story: Story,
    now: u64,
    next_id: u64,
    next_broadcast: u64,
    users: BTreeMap<u32, User>,
    untold: Vec<(u64, u64, u64)>,
}

impl Server {
    fn new() -> Server {
        let users = (FIRST..FIRST + USERS)
            .map(|user| (user, User { connection: 1, online: true, ..User::default() }));
        let story = Story::new(USERS);
        Server {
            story,
            now: 5_000,
            next_id: 1_000,
            next_broadcast: 1,
            users: users.collect(),
            untold: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        self.wait(1);
        match step {
            Step::Send { user, stream, transient, answer } => self.send(user, stream, transient, answer),
            Step::Broadcast { told_later } => self.broadcast(told_later, None),
            Step::Ack { user } => self.ack(user),
            Step::Repeat { user } => self.repeat(user),
            Step::Drop { user } => self.disconnect(user),
            Step::Return { user } => self.connect(user),
            Step::Wait { ms } => self.wait(ms),
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn send(&mut self, user: u32, stream: u16, transient: bool, answer: Answer) {
        let header = self.story.send(user, Class { stream, transient, ttl: Some(7_200_000) }, self.now);
        self.now += 1;
        let id = self.id();
        match answer {
            Answer::BeforePush => self.story.accept(&header, id, self.now),
            Answer::Refused => return self.story.ledger.refused(header.sequence),
            Answer::Unknown { .. } => self.story.ledger.unknown(header.sequence),
            Answer::AfterPush => {}
        }
        self.now += 1;
        if transient && self.users[&user].online {
            self.story.push(user, self.users[&user].connection, &header, id, self.now);
        } else if !transient && answer != (Answer::Unknown { taken: false }) {
            self.store(user, id, header);
        }
        if answer == Answer::AfterPush {
            self.now += 1;
            self.story.accept(&header, id, self.now);
        }
    }

    fn broadcast(&mut self, told_later: bool, without: Option<u32>) {
        let (number, id, sent) = (self.next_broadcast, self.id(), self.now);
        self.next_broadcast += 1;
        let header = broadcast(number, self.story.at(sent));
        if !told_later {
            self.story.ledger.broadcast(number, self.story.at(sent), id, None);
        }
        let all: Vec<u32> = self.users.keys().copied().filter(|user| Some(*user) != without).collect();
        for user in all {
            self.store(user, id, header);
        }
        if told_later {
            self.untold.push((number, id, sent));
        }
    }

    fn store(&mut self, user: u32, id: u64, header: Header) {
        let stored = Stored { header, pushed: false, pushed_before: false };
        self.user(user).inbox.insert(id, stored);
        self.push_all(user);
    }

    /// Pushes what this connection has not seen, in order.
    fn push_all(&mut self, number: u32) {
        let user = self.user(number);
        if !user.online {
            return;
        }
        let connection = user.connection;
        let waiting: Vec<(u64, Stored)> = user
            .inbox
            .iter()
            .filter(|(_, stored)| !stored.pushed)
            .map(|(id, stored)| (*id, *stored))
            .collect();
        for (id, stored) in waiting {
            let receipt =
                self.story.push_as(number, connection, &stored.header, id, stored.pushed_before, self.now);
            let user = self.user(number);
            user.held.insert(id, receipt);
            user.inbox.insert(id, Stored { pushed: true, pushed_before: true, ..stored });
        }
    }

    fn ack(&mut self, number: u32) {
        let now = self.now;
        let user = self.user(number);
        if !user.online {
            return;
        }
        let connection = user.connection;
        let (ids, receipts): (Vec<u64>, Vec<Receipt>) = user.held.drain().unzip();
        user.acks.extend(ids.into_iter().map(|id| (id, now)));
        self.story.ledger.acked(number, connection, &receipts, self.story.at(now));
    }

    fn repeat(&mut self, number: u32) {
        self.arrive(self.now);
        let user = self.user(number);
        if user.online {
            user.inbox.values_mut().for_each(|stored| stored.pushed = false);
            self.push_all(number);
        }
    }

    /// Acknowledgements that had not arrived yet die with the connection.
    fn disconnect(&mut self, number: u32) {
        let (now, user) = (self.now, self.user(number));
        if !user.online {
            return;
        }
        user.online = false;
        user.acks.clear();
        user.held.clear();
        user.inbox.values_mut().for_each(|stored| stored.pushed = false);
        let connection = user.connection;
        self.story.ledger.disconnected(number, connection, self.story.at(now));
    }

    fn connect(&mut self, number: u32) {
        let (now, user) = (self.now, self.user(number));
        if user.online {
            return;
        }
        user.online = true;
        user.connection += 1;
        let connection = user.connection;
        self.story.ledger.bound(number, connection, self.story.at(now));
        self.push_all(number);
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.arrive(self.now);
        for (number, id, sent) in std::mem::take(&mut self.untold) {
            self.story.ledger.broadcast(number, self.story.at(sent), id, None);
        }
    }

    /// Acknowledgements arrive at the server.
    fn arrive(&mut self, now: u64) {
        for user in self.users.values_mut() {
            let User { acks, inbox, .. } = user;
            acks.retain(|(id, written)| {
                let arrived = written + ACK_DELAY <= now;
                if arrived {
                    inbox.remove(id);
                }
                !arrived
            });
        }
    }

    /// Everyone comes back, gets everything and acknowledges it.
    fn settle(&mut self) {
        let all: Vec<u32> = self.users.keys().copied().collect();
        for user in all {
            self.connect(user);
            self.push_all(user);
            self.ack(user);
        }
        self.wait(10_000);
    }

    fn user(&mut self, number: u32) -> &mut User {
        self.users.get_mut(&number).unwrap()
    }

    /// Does the one wrong thing, with everyone online and nothing under way.
    fn commit(&mut self, fault: Fault) {
        let user = FIRST + 1;
        let connection = self.users[&user].connection;
        if fault == Fault::ForgetBroadcast {
            return self.broadcast(true, Some(user));
        }
        let header = self.story.send(user, Class::default(), self.now);
        let id = self.id();
        self.wait(1);
        if fault == Fault::DeliverRefused {
            self.story.ledger.refused(header.sequence);
        } else {
            self.story.accept(&header, id, self.now);
        }
        self.wait(1);
        match fault {
            Fault::Lose | Fault::ForgetBroadcast => {}
            Fault::Duplicate => {
                self.store(user, id, header);
                self.ack(user);
                self.wait(5_000);
                self.disconnect(user);
                self.connect(user);
                let connection = self.users[&user].connection;
                self.story.push_as(user, connection, &header, id, true, self.now);
            }
            Fault::Reorder => {
                let (later, later_id) = (self.story.send(user, Class::default(), self.now), self.id());
                self.story.accept(&later, later_id, self.now + 1);
                self.store(user, later_id, later);
                self.store(user, id, header);
            }
            Fault::Misroute => {
                self.store(user, id, header);
                self.story.push(user + 1, self.users[&(user + 1)].connection, &header, id, self.now);
            }
            Fault::ChangeId => self.store(user, id + 1_000_000, header),
            Fault::Garble => {
                self.store(user, id, header);
                let push = longline_load_truth::Received { id: 1, payload: b"rubbish", redelivered: false };
                self.story.ledger.received(user, connection, &push, self.story.at(self.now));
            }
            Fault::DeliverRefused => self.store(user, id, header),
        }
    }
}

/// Faults as the counts should tell them: lost, unreachable, duplicated, reordered, foreign, late.
fn expected(fault: Fault) -> [u64; 6] {
    match fault {
        Fault::Lose | Fault::ForgetBroadcast => [1, 0, 0, 0, 0, 0],
        Fault::Duplicate => [0, 0, 1, 0, 0, 0],
        Fault::Reorder => [0, 0, 0, 1, 0, 0],
        Fault::Misroute | Fault::ChangeId | Fault::Garble | Fault::DeliverRefused => [0, 0, 0, 0, 1, 0],
    }
}

fn run(steps: &[Step]) -> Server {
    let mut server = Server::new();
    steps.iter().for_each(|step| server.step(*step));
    server.settle();
    server
}

/// What adds up whatever happened.
fn adds_up(counts: &Counts) {
    assert_eq!(counts.planned, counts.accepted + counts.refused + counts.unknown);
    assert_eq!(counts.broadcast_received, counts.broadcast_expected - counts.broadcast_missing);
    let reachable = counts.accepted + counts.unknown
        - counts.transient_dropped
        - (counts.lost - counts.broadcast_missing);
    assert!(counts.received <= reachable + counts.unexpected && counts.acked <= counts.received);
}

proptest! {
    #[test]
    fn a_right_server_is_found_right(steps in steps()) {
        let server = run(&steps);
        let counts = server.story.counts();
        prop_assert_eq!(faults(&counts), crate::support::NONE, "{:?}", server.story.findings().examples);
        prop_assert_eq!(server.story.ledger.outstanding(), 0);
        prop_assert!(server.story.verdict().ok);
        adds_up(&counts);
    }

    #[test]
    fn one_fault_is_found_and_nothing_else(steps in steps(), fault in prop::sample::select(&FAULTS[..]), after in steps()) {
        let mut server = run(&steps);
        server.commit(fault);
        after.iter().for_each(|step| server.step(*step));
        server.settle();
        // A wrong id is wrong each time that it comes.
        let counts = server.story.counts();
        let mut found = faults(&counts);
        if fault == Fault::ChangeId && found[4] > 1 {
            found[4] = 1;
        }
        prop_assert_eq!(found, expected(fault), "{:?}: {:?}", fault, server.story.findings().examples);
        prop_assert!(!server.story.verdict().ok);
        adds_up(&counts);
    }
}
