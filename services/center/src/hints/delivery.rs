//! The way of a run: lookup, deliver, and for what was not found there once more after a fresh lookup (I2).

use std::collections::BTreeMap;

use longline_pb::room::{DeliverReply, DeliverRequest, DeliverResult};
use longline_types::{Error, ErrorCode, Route, limits, now_ms};

use super::{Hint, Hints};
use crate::routes::Whereabouts;

/// Hints whose addresses are in one room, each with its route; those of one address stand together.
type ForRoom = Vec<(Hint, Route)>;

impl Hints {
    /// Begins a run in a task of its own. Tasks are as many as runs, and those are bounded by the queue.
    pub(super) fn start(&self, run: Vec<Hint>) {
        if !run.is_empty() {
            self.shared.tasks.spawn(self.clone().look_up(run));
        }
    }

    /// Finds the rooms of a run. Each room's part then goes its own way, so that a slow room holds up nobody else.
    async fn look_up(self, run: Vec<Hint>) {
        let (rooms, gone) = self.by_room(run).await;
        self.end(&gone);
        for (room, part) in rooms {
            self.shared.tasks.spawn(self.clone().bring(room, part));
        }
    }

    /// Delivers a room's part of a run and ends it.
    async fn bring(self, room: u32, part: ForRoom) {
        let run: Vec<Hint> = part.iter().map(|(hint, _)| hint.clone()).collect();
        let failed = self.deliver(room, part).await;
        let (rooms, _) = self.by_room(self.removed(failed).await).await;
        for (room, part) in rooms {
            for (_, outcome) in self.deliver(room, part).await {
                self.count(outcome.name());
            }
        }
        self.end(&run);
    }

    /// Looks the addresses up. Returns the hints by room, and those that go nowhere, which are counted.
    async fn by_room(&self, run: Vec<Hint>) -> (BTreeMap<u32, ForRoom>, Vec<Hint>) {
        let mut keys: Vec<_> = run.iter().map(|hint| hint.key).collect();
        keys.dedup();
        let mut found = keys.iter().zip(self.shared.routes.find(&keys).await).peekable();
        let (mut rooms, mut gone) = (BTreeMap::<u32, ForRoom>::new(), Vec::new());
        for hint in run {
            while found.peek().is_some_and(|(key, _)| **key != hint.key) {
                found.next();
            }
            match found.peek().map(|(_, whereabouts)| whereabouts) {
                Some(Whereabouts::At(route)) => rooms.entry(route.node).or_default().push((hint, *route)),
                Some(Whereabouts::Nowhere) => {
                    self.count("offline");
                    gone.push(hint);
                }
                Some(Whereabouts::Unknown(_)) | None => {
                    self.count("unknown");
                    gone.push(hint);
                }
            }
        }
        (rooms, gone)
    }

    /// Hands hints to a room. Counts what is settled and returns what another try may settle.
    async fn deliver(&self, room: u32, part: ForRoom) -> Vec<((Hint, Route), Outcome)> {
        let mut failed = Vec::new();
        for part in batches(part) {
            let now = now_ms();
            let (late, part): (ForRoom, ForRoom) =
                part.into_iter().partition(|(hint, _)| hint.message.expires_at_ms <= now);
            late.iter().for_each(|_| self.count("expired"));
            let group = part.iter().map(|(hint, route)| request(hint, route)).collect();
            let replies = self.shared.rooms.call_group(room, group, self.shared.timeout).await;
            for (hint, reply) in part.into_iter().zip(replies) {
                match Outcome::of(reply) {
                    Outcome::Settled(result) => self.count(result),
                    outcome => failed.push((hint, outcome)),
                }
            }
        }
        failed
    }

    /// Has routes that lead nowhere removed (D3), and returns all hints that are to be tried again.
    async fn removed(&self, failed: Vec<((Hint, Route), Outcome)>) -> Vec<Hint> {
        let mut stale: Vec<_> = failed
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::NotHere)
            .map(|((hint, route), _)| (hint.key, *route))
            .collect();
        stale.dedup();
        if !stale.is_empty() {
            self.count_many("not_here", stale.len());
            self.shared.routes.remove(stale).await;
        }
        failed.into_iter().map(|((hint, _), _)| hint).collect()
    }

    /// The run of these hints has ended; what waited behind them goes next.
    fn end(&self, run: &[Hint]) {
        self.start(self.next(run));
    }

    fn count(&self, result: &str) {
        self.count_many(result, 1);
    }

    fn count_many(&self, result: &str, hints: usize) {
        self.shared.metrics.hints.with_label_values(&[result]).inc_by(hints as u64);
    }
}

/// What a room said of a hint, or why it said nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Nothing more is to be done.
    Settled(&'static str),
    /// The route is stale.
    NotHere,
    /// The room could not be asked, or did not answer.
    Failed,
}

impl Outcome {
    fn of(reply: Result<DeliverReply, Error>) -> Outcome {
        match reply.map(|reply| reply.result()) {
            Ok(DeliverResult::Pushed) => Outcome::Settled("pushed"),
            Ok(DeliverResult::Deferred) => Outcome::Settled("deferred"),
            Ok(DeliverResult::Overloaded) => Outcome::Settled("overloaded"),
            Ok(DeliverResult::Dropped) => Outcome::Settled("dropped_by_room"),
            Ok(DeliverResult::NotHere) => Outcome::NotHere,
            Ok(DeliverResult::Unspecified) => Outcome::Failed,
            Err(error) if error.code == ErrorCode::ResourceExhausted => Outcome::Settled("overloaded"),
            Err(_) => Outcome::Failed,
        }
    }

    /// Its name where it is the last word.
    fn name(self) -> &'static str {
        match self {
            Outcome::Settled(name) => name,
            Outcome::NotHere => "gone",
            Outcome::Failed => "failed",
        }
    }
}

fn request(hint: &Hint, route: &Route) -> DeliverRequest {
    DeliverRequest {
        address: Some((&hint.address).into()),
        route: Some((*route).into()),
        message: Some(hint.message.clone()),
    }
}

/// Cuts a room's part where a pipeline would cut it, but between addresses if it can: a later batch is sent when the earlier
/// one is answered, so the order within an address holds (D7) whatever a room does with batches at once.
fn batches(part: ForRoom) -> Vec<ForRoom> {
    let mut batches = vec![ForRoom::new()];
    let (mut items, mut bytes) = (0, 0);
    for run in part.chunk_by(|(a, _), (b, _)| a.key == b.key) {
        let run_bytes: usize = run.iter().map(|(hint, _)| encoded_len(hint)).sum();
        if items > 0 && (items + run.len() > limits::BATCH_ITEMS || bytes + run_bytes > limits::BATCH_BYTES) {
            batches.push(ForRoom::new());
            (items, bytes) = (0, 0);
        }
        items += run.len();
        bytes += run_bytes;
        if let Some(batch) = batches.last_mut() {
            batch.extend_from_slice(run);
        }
    }
    batches
}

/// About what a hint takes on the wire, from above.
fn encoded_len(hint: &Hint) -> usize {
    hint.message.payload.len() + hint.address.user.as_str().len() + 128
}

#[cfg(test)]
mod tests {
    use longline_pb::types::Message;
    use longline_types::{Address, SessionId, Stamp};

    use super::*;

    fn part(users: &[(&str, usize)], bytes: usize) -> ForRoom {
        let route = Route { stamp: Stamp::default(), node: 1, incarnation: 1, session: SessionId(1) };
        let of = |&(user, count): &(&str, usize)| {
            let message = Message { payload: vec![0; bytes].into(), ..Message::default() };
            vec![(Hint::new(Address::new(1, user).unwrap(), message), route); count]
        };
        users.iter().flat_map(of).collect()
    }

    #[test]
    fn an_address_is_not_cut_between_batches_d7() {
        let sizes = |part| batches(part).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(part(&[("a", 1), ("b", 1)], 10)), [2]);
        assert_eq!(sizes(part(&[("a", 250), ("b", 5), ("c", 2)], 10)), [255, 2]);
        assert_eq!(sizes(part(&[("a", 2), ("b", 3)], 60_000)), [2, 3], "by bytes");
    }
}
