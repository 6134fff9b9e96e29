//! A share of the users with their messages, and the counts of what became of them.

use std::ops::Range;

use super::batches::{Among, Batches};
use super::broadcasts::{Broadcasts, Came, Scene};
use super::entries::{Entries, Found};
use super::entry::{Answer, Entry};
use super::expiries::Expiries;
use super::judgement::{Arrival, Wrong};
use super::tick::{Rules, SECOND, Tick};
use super::users::User;
use super::{Device, Known, Plan, Received, SHARDS};
use crate::findings::Examples;
use crate::{Counts, Example, Fault, Header, Micros};

/// Examples of each fault that a shard keeps as they happen.
const EXAMPLES: usize = 32;
/// How often it is looked for what can be forgotten, at most.
const SWEEP: Tick = SECOND / 2;

/// One shard.
#[derive(Debug)]
pub(super) struct Shard {
    names: Names,
    rules: Rules,
    users: Vec<User>,
    entries: Entries,
    batches: Batches,
    broadcasts: Broadcasts,
    expiries: Expiries,
    /// Accepted durable unicasts, not received and not expired.
    owed: u64,
    counts: Counts,
    examples: Examples,
    sweep_at: Tick,
}

/// Turns the shard's numbers into those of the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// The shard's number.
    pub(super) shard: u64,
    /// The ledger's first user.
    pub(super) first: u32,
}

impl Names {
    fn user(self, place: usize) -> u32 {
        self.first.wrapping_add((place as u64 * SHARDS + self.shard) as u32)
    }

    fn sequence(self, number: u64) -> u64 {
        number * SHARDS + self.shard
    }
}

/// The message in an example.
#[derive(Clone, Copy)]
struct Subject {
    place: usize,
    id: u64,
    sequence: u64,
    due: Micros,
}

impl Subject {
    fn example(self, names: Names, what: Fault, detail: String) -> Example {
        let Subject { place, id, sequence, due } = self;
        Example { what, user: names.user(place), id, sequence, due, detail }
    }
}

impl Shard {
    pub(super) fn new(names: Names, users: u64, rules: Rules) -> Shard {
        Shard {
            names,
            rules,
            users: (0..users).map(|_| User::new()).collect(),
            entries: Entries::default(),
            batches: Batches::default(),
            broadcasts: Broadcasts::default(),
            expiries: Expiries::default(),
            owed: 0,
            counts: Counts::default(),
            examples: Examples::new(EXAMPLES),
            sweep_at: 0,
        }
    }

    /// Answers the message's number in the shard.
    pub(super) fn plan(&mut self, plan: &Plan, place: usize, now: impl Fn() -> Micros) -> u64 {
        if self.entries.is_full() {
            self.pass(self.rules.tick(now()));
        }
        self.counts.planned += 1;
        self.entries.push(Entry::new(plan, place, &self.rules))
    }

    /// The ledger's next batch, as far as it is here: plans with their users' places. Answers the messages' numbers in the shard.
    pub(super) fn plan_batch(
        &mut self,
        plans: impl Iterator<Item = (Plan, usize)>,
        now: impl Fn() -> Micros,
    ) -> Range<u64> {
        let first = self.entries.count();
        for (plan, place) in plans {
            self.plan(&plan, place, &now);
        }
        let messages = first..self.entries.count();
        self.batches.push(messages.clone());
        messages
    }

    /// The number of a user's message in a batch.
    pub(super) fn in_batch(&mut self, batch: u64, place: usize) -> Option<u64> {
        let messages = match self.batches.find(batch) {
            Among::These(messages) => messages,
            Among::Ended(message) => return Some(message),
            Among::None => return None,
        };
        let mut ended = None;
        for number in messages {
            match self.entries.find(number) {
                Found::Entry(entry) if entry.place as usize == place => return Some(number),
                Found::Entry(_) | Found::Nothing => {}
                Found::Ended => ended = Some(number),
            }
        }
        ended
    }

    pub(super) fn sent(&mut self, number: u64, at: Micros) {
        if let Found::Entry(entry) = self.entries.find(number) {
            entry.send(at);
        }
    }

    /// Answers when it was due, if this is the first answer.
    pub(super) fn accepted(&mut self, number: u64, id: u64, at: Micros) -> Option<Micros> {
        let entry = unanswered(&mut self.entries, number)?;
        entry.accept(at);
        let before = std::mem::replace(&mut entry.id, id);
        let (place, due) = (entry.place as usize, entry.due);
        self.counts.accepted += 1;
        if !entry.reception.received() {
            let (transient, expires) = (entry.transient, entry.expires);
            self.owe(transient, expires);
        } else if before != id {
            let subject = Subject { place, id, sequence: self.names.sequence(number), due };
            self.blame(Wrong::OtherId, subject, || format!("accepted as {id}, received as {before}"));
        }
        Some(due)
    }

    pub(super) fn refused(&mut self, number: u64) {
        self.counts.refused += u64::from(self.ruled_out(number, "refused by the API after it was received"));
    }

    pub(super) fn skipped(&mut self, number: u64) {
        self.counts.skipped += u64::from(self.ruled_out(number, "received, and never sent"));
    }

    /// It must not arrive. Answers whether that is new; `if_received`: what is wrong if it has.
    fn ruled_out(&mut self, number: u64, if_received: &str) -> bool {
        let Some(entry) = unanswered(&mut self.entries, number) else { return false };
        entry.answer = Answer::Refused;
        if entry.reception.received() {
            let (place, id, due) = (entry.place as usize, entry.id, entry.due);
            let subject = Subject { place, id, sequence: self.names.sequence(number), due };
            self.blame(Wrong::Unexpected, subject, || if_received.to_owned());
        }
        true
    }

    pub(super) fn unknown(&mut self, number: u64) {
        if let Some(entry) = unanswered(&mut self.entries, number) {
            entry.answer = Answer::Unknown;
            self.counts.unknown += 1;
        }
    }

    pub(super) fn bound(&mut self, device: Device, at: Micros) {
        if let Some(user) = self.users.get_mut(device.place) {
            user.bound(device.connection, at, self.rules.tick(at));
        }
    }

    pub(super) fn disconnected(&mut self, device: Device, at: Micros) {
        if let Some(user) = self.users.get_mut(device.place) {
            user.disconnected(device.connection, self.rules.tick(at));
        }
    }

    /// A unicast of this ledger and for this user came. Answers whether for the first time; `None`: it is foreign after all.
    pub(super) fn received(
        &mut self,
        device: Device,
        header: &Header,
        push: &Received<'_>,
        at: Micros,
    ) -> Option<bool> {
        let subject = subject(device, header, push);
        let entry = match (self.users.get_mut(device.place), self.entries.find(header.sequence / SHARDS)) {
            (Some(user), Found::Entry(entry)) if entry.place as usize == device.place => Ok((user, entry)),
            (Some(_), Found::Ended) => Err(Wrong::Duplicated),
            _ => Err(Wrong::Foreign),
        };
        let (user, entry) = match entry {
            Ok(known) => known,
            Err(Wrong::Duplicated) => {
                self.blame(Wrong::Duplicated, subject, || String::from("received again long after its end"));
                return Some(false);
            }
            Err(wrong) => {
                self.blame(wrong, subject, || String::from("no such message was planned for this user"));
                return None;
            }
        };
        let (was_owed, was_dropped) = (entry.is_owed(), entry.is_dropped());
        let arrival = Arrival { connection: device.connection, id: push.id, marked: push.redelivered, at };
        let judgement = entry.receive(user, &arrival, &self.rules);
        let expires = entry.expires;
        if was_owed {
            let expired = self.expiries.settle(expires);
            *if expired { &mut self.counts.expired } else { &mut self.owed } -= 1;
        }
        self.counts.transient_dropped -= u64::from(was_dropped);
        self.counts.received += u64::from(judgement.first);
        self.counts.redelivered += u64::from(judgement.redelivered);
        for (wrong, detail) in judgement.wrongs {
            self.blame(wrong, subject, || detail);
        }
        Some(judgement.first)
    }

    /// A broadcast of this run came. Answers whether for the first time; `None`: it is not believed.
    pub(super) fn received_broadcast(
        &mut self,
        device: Device,
        header: &Header,
        push: &Received<'_>,
        at: Micros,
    ) -> Option<bool> {
        let subject = subject(device, header, push);
        let tick = self.rules.tick(at);
        let scene = Scene { users: &self.users, rules: &self.rules, now: tick };
        let Some(arrival) = self.broadcasts.receive(scene, device, header, push) else {
            self.blame(Wrong::Foreign, subject, || String::from("no such broadcast was sent"));
            return None;
        };
        match arrival.came {
            Came::First => self.counts.broadcast_received += 1,
            Came::Again => self.counts.redelivered += 1,
            Came::Duplicated if !arrival.right_id => {}
            Came::Duplicated => {
                self.blame(Wrong::Duplicated, subject, || {
                    format!("broadcast received again on connection {}", device.connection)
                });
            }
        }
        if !arrival.right_id {
            self.blame(Wrong::OtherId, subject, || {
                String::from("broadcast received with another id than before")
            });
        }
        if arrival.late && arrival.came != Came::Duplicated {
            self.blame(Wrong::Late, subject, || String::from("broadcast received after expiry"));
        }
        Some(arrival.came == Came::First)
    }

    /// A payload without a readable header came.
    pub(super) fn unreadable(&mut self, place: usize, id: u64) {
        let subject = Subject { place, id, sequence: 0, due: 0 };
        self.blame(Wrong::Unreadable, subject, || String::from("its payload has no readable header"));
    }

    /// Something came that is another's.
    pub(super) fn foreign(&mut self, device: Device, header: &Header, push: &Received<'_>) {
        let detail = || {
            format!(
                "for user {} of agent {} in run {}, {:?}",
                header.user, header.agent, header.run, header.kind
            )
        };
        self.blame(Wrong::Foreign, subject(device, header, push), detail);
    }

    /// An acknowledgement was written. Answers when the message was due, if it is a unicast's first.
    pub(super) fn acked(&mut self, device: Device, known: Known, at: Micros) -> Option<Micros> {
        let tick = self.rules.tick(at);
        match known {
            Known::Broadcast(number) => {
                let first = self.broadcasts.ack(number, device.place, device.connection, tick);
                self.counts.broadcast_acked += u64::from(first);
                None
            }
            Known::Unicast(number) => {
                let Found::Entry(entry) = self.entries.find(number) else { return None };
                let first =
                    entry.place as usize == device.place && entry.reception.ack(device.connection, tick);
                self.counts.acked += u64::from(first);
                first.then_some(entry.due)
            }
        }
    }

    /// The controller tells of a broadcast.
    pub(super) fn broadcast(&mut self, number: u64, sent: Micros, id: u64, expires: Option<Micros>) {
        let scene = Scene { users: &self.users, rules: &self.rules, now: self.rules.tick(sent) };
        let Some(announcement) = self.broadcasts.announce(scene, number, sent, id, expires) else { return };
        self.counts.broadcast_expected += announcement.expected;
        self.counts.wrong_id += announcement.wrong;
        self.counts.foreign += announcement.wrong;
        if announcement.wrong > 0 {
            let detail = format!("{} users received this broadcast with another id", announcement.wrong);
            let example = || {
                Subject { place: 0, id, sequence: number, due: sent }.example(
                    self.names,
                    Fault::Foreign,
                    detail,
                )
            };
            self.examples.add(Fault::Foreign, example);
        }
    }

    pub(super) fn outstanding(&mut self, now: Micros) -> u64 {
        let now = self.rules.tick(now);
        self.pass(now);
        self.owed + self.broadcasts.outstanding(now)
    }

    /// Unicasts that are not answered, or owed.
    pub(super) fn under_way(&mut self, now: Micros) -> u64 {
        self.pass(self.rules.tick(now));
        self.counts.unanswered() + self.owed
    }

    pub(super) fn counts(&mut self, now: Micros) -> Counts {
        self.pass(self.rules.tick(now));
        self.counts
    }

    /// The counts of the end. Adds the examples.
    pub(super) fn findings(&mut self, now: Micros, examples: &mut Examples) -> Counts {
        let now = self.rules.tick(now);
        self.pass(now);
        let mut counts = self.counts;
        for example in self.examples.kept() {
            examples.add(example.what, || example.clone());
        }
        for (number, entry) in self.entries.iter().filter(|(_, entry)| entry.is_owed()) {
            if entry.expires <= now {
                counts.expired += u64::from(!self.expiries.is_over(entry.expires));
                continue;
            }
            let place = entry.place as usize;
            let what = self.fate(place, Fault::Lost, now, &mut counts);
            let sequence = self.names.sequence(number);
            let subject = Subject { place, id: entry.id, sequence, due: entry.due };
            examples
                .add(what, || subject.example(self.names, what, String::from("accepted and never received")));
        }
        let scene = Scene { users: &self.users, rules: &self.rules, now };
        for missing in self.broadcasts.missing(scene) {
            if missing.expired {
                counts.expired += missing.places.count() as u64;
                continue;
            }
            for place in missing.places {
                let what = self.fate(place, Fault::BroadcastMissing, now, &mut counts);
                let subject = Subject { place, id: missing.id, sequence: missing.number, due: missing.sent };
                examples.add(what, || {
                    subject.example(self.names, what, String::from("broadcast never received"))
                });
            }
        }
        counts
    }

    /// What a missing delivery is, by whether its user was there for long enough; counted.
    fn fate(&self, place: usize, lost: Fault, now: Tick, counts: &mut Counts) -> Fault {
        let long_enough = now.saturating_sub(self.rules.back);
        if !self.users.get(place).is_some_and(|user| user.is_online_since(long_enough)) {
            counts.unreachable += 1;
            return Fault::Unreachable;
        }
        counts.lost += 1;
        counts.broadcast_missing += u64::from(lost == Fault::BroadcastMissing);
        lost
    }

    /// An accepted message has not come yet.
    fn owe(&mut self, transient: bool, expires: Tick) {
        if transient {
            self.counts.transient_dropped += 1;
        } else if self.expiries.owe(expires) {
            self.counts.expired += 1;
        } else {
            self.owed += 1;
        }
    }

    /// Time passes: messages expire, and what has ended is forgotten.
    fn pass(&mut self, now: Tick) {
        let expired = self.expiries.pass(now);
        self.counts.expired += expired;
        self.owed -= expired;
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP;
        let Shard { users, rules, entries, batches, .. } = self;
        let first_look = rules.ack + rules.late + SECOND / 2;
        entries.sweep(now, first_look, |entry| entry.is_open(users.get(entry.place as usize), now, rules));
        batches.sweep(|number| entries.has_ended(number));
    }

    fn blame(&mut self, wrong: Wrong, subject: Subject, detail: impl FnOnce() -> String) {
        let Counts { duplicated, reordered, late, foreign, unreadable, wrong_id, unexpected, .. } =
            &mut self.counts;
        match wrong {
            Wrong::Duplicated => *duplicated += 1,
            Wrong::Reordered => *reordered += 1,
            Wrong::Late => *late += 1,
            Wrong::Foreign => {}
            Wrong::Unreadable => *unreadable += 1,
            Wrong::OtherId => *wrong_id += 1,
            Wrong::Unexpected => *unexpected += 1,
        }
        let what = wrong.fault();
        *foreign += u64::from(what == Fault::Foreign);
        self.examples.add(what, || subject.example(self.names, what, detail()));
    }
}

/// The entry with this number, if the API's answer is not known yet.
fn unanswered(entries: &mut Entries, number: u64) -> Option<&mut Entry> {
    match entries.find(number) {
        Found::Entry(entry) if entry.answer == Answer::Pending => Some(entry),
        _ => None,
    }
}

fn subject(device: Device, header: &Header, push: &Received<'_>) -> Subject {
    Subject { place: device.place, id: push.id, sequence: header.sequence, due: header.due }
}
