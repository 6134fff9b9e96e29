//! Driving one broadcast to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use longline_member::Identity;
use longline_pb::room::BroadcastProgress;
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{BroadcastRecord, ReportBroadcastRequest, RoomProgress};
use longline_types::{Error, ErrorCode, NodeState, Role, View, now_ms};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims::{Driver, lease_ms};
use super::room;
use crate::config::millis;

/// How a drive ended.
#[derive(Debug)]
pub(super) enum End {
    /// Every room has walked its sessions, or the broadcast has expired.
    Finished,
    /// Another center has it.
    Lost(Error),
    /// This center stops; another may take over at once.
    Stopped,
}

/// A lease that ends at once: the claim is given back.
const GIVE_BACK_MS: u32 = 1;
/// After the last room is done, acknowledgements under way are waited for this long, for the stored figures' sake.
const SETTLE: Duration = Duration::from_secs(3);

/// Rooms by (number, incarnation).
type Rooms = BTreeMap<(u32, u64), RoomProgress>;

/// Has every room walk its sessions, and reports, until all have.
pub(super) async fn drive(
    driver: &Driver,
    record: BroadcastRecord,
    me: &Identity,
    shutdown: &CancellationToken,
) -> End {
    let rooms = record.rooms.iter().map(|room| ((room.node, room.incarnation), *room)).collect();
    let mut drive =
        Drive { driver, me, record, rooms, started: BTreeSet::new(), reported: None, done_at: None };
    loop {
        drive.step().await;
        let finished = drive.is_finished();
        let stopping = shutdown.is_cancelled();
        if let Err(error) = drive.report(finished, stopping).await {
            return End::Lost(error);
        }
        match (drive.is_reported(), finished, stopping) {
            (true, true, _) => return End::Finished,
            (_, _, true) => return End::Stopped,
            _ => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(millis(driver.config.poll_every_ms)) => {}
        }
    }
}

struct Drive<'a> {
    driver: &'a Driver,
    me: &'a Identity,
    record: BroadcastRecord,
    rooms: Rooms,
    /// Rooms that have said they know the broadcast: from then on only the progress is asked for.
    started: BTreeSet<(u32, u64)>,
    /// When a saver last took a report, and what it said.
    reported: Option<(Instant, Rooms, bool)>,
    /// When all rooms were first found done.
    done_at: Option<Instant>,
}

impl Drive<'_> {
    /// Asks every room that has something to say.
    async fn step(&mut self) {
        let view = self.driver.peers.view();
        adopt(&mut self.rooms, &view);
        let rate =
            rate_per_room(self.record.rate_per_second, self.rooms.values().filter(|r| !r.done).count());
        let open: Vec<_> = self
            .rooms
            .iter()
            .filter(|(key, room)| is_live(&view, **key) && (!room.done || room.acked < room.pushed))
            .map(|(key, _)| *key)
            .collect();
        let answers = open.iter().map(|key| self.ask(*key, rate));
        let answers = join_all(answers).await;
        for (key, answer) in open.into_iter().zip(answers) {
            self.take(key, answer);
        }
        if self.rooms.values().all(|room| room.done) {
            self.done_at.get_or_insert_with(Instant::now);
        } else {
            self.done_at = None;
        }
    }

    async fn ask(&self, key: (u32, u64), rate: u32) -> Result<BroadcastProgress, Error> {
        let (peers, timeout) = (&self.driver.peers, self.driver.timeout);
        if self.started.contains(&key) {
            room::progress(peers, key.0, &self.record, timeout).await
        } else {
            room::start(peers, key.0, &self.record, rate, timeout).await
        }
    }

    fn take(&mut self, key: (u32, u64), answer: Result<BroadcastProgress, Error>) {
        match answer {
            Ok(progress) => {
                if progress.known {
                    self.started.insert(key);
                } else {
                    self.started.remove(&key);
                }
                if let Some(room) = self.rooms.get_mut(&key) {
                    *room = room::merged(room, Some(progress));
                }
            }
            Err(error) => {
                tracing::debug!(room = key.0, %error, "a room was not asked for its part of a broadcast")
            }
        }
    }

    /// Whether nothing is left to do here: all rooms are done and what they wrote was acknowledged or had time to be, or the
    /// broadcast has expired.
    fn is_finished(&self) -> bool {
        let expired = self.record.message.as_ref().is_none_or(|m| m.expires_at_ms <= now_ms());
        let settled = self.rooms.values().all(|room| room.acked >= room.pushed);
        expired || self.done_at.is_some_and(|at| settled || at.elapsed() >= SETTLE)
    }

    /// Tells a saver if there is news, or the claim needs it. An error says that the claim is lost; a saver that cannot be
    /// reached is tried again at the next step.
    async fn report(&mut self, finished: bool, stopping: bool) -> Result<(), Error> {
        let renew = millis(self.driver.config.lease_ms) / 3;
        let is_news = self.reported.as_ref().is_none_or(|(at, rooms, was_finished)| {
            at.elapsed() >= renew || *rooms != self.rooms || *was_finished != finished
        });
        if !is_news && !stopping {
            return Ok(());
        }
        let request = ReportBroadcastRequest {
            product: self.record.product,
            id: self.record.message.as_ref().map_or(0, |m| m.id),
            node: self.me.number,
            incarnation: self.me.incarnation,
            rooms: self.rooms.values().copied().collect(),
            finished,
            lease_ms: if stopping { GIVE_BACK_MS } else { lease_ms(&self.driver.config) },
        };
        let call = |channel| {
            let request = request.clone();
            async move { SaverClient::new(channel).report_broadcast(request).await }
        };
        let key = u64::from(self.record.product);
        match self.driver.peers.unary(Role::Saver, key, self.driver.timeout, call).await {
            Ok(_) => self.reported = Some((Instant::now(), self.rooms.clone(), finished)),
            Err(error) if may_pass(error.code) => {
                tracing::debug!(%error, "a broadcast's progress was not stored")
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether a saver knows all there is.
    fn is_reported(&self) -> bool {
        self.reported.as_ref().is_some_and(|(_, rooms, _)| *rooms == self.rooms)
    }
}

/// Adds the rooms of the view. Those that have left it are done: their sessions bind elsewhere, and every bind loads (D1).
fn adopt(rooms: &mut Rooms, view: &View) {
    for ((node, incarnation), room) in rooms.iter_mut() {
        room.done |= !is_live(view, (*node, *incarnation));
    }
    for node in view.live(Role::Room).filter(|node| node.state != NodeState::Starting) {
        let fresh =
            RoomProgress { node: node.number, incarnation: node.incarnation, ..RoomProgress::default() };
        rooms.entry((node.number, node.incarnation)).or_insert(fresh);
    }
}

fn is_live(view: &View, (number, incarnation): (u32, u64)) -> bool {
    view.node(number).is_some_and(|node| node.incarnation == incarnation)
}

/// The rooms' shares add up to the rate, or a little more, and no room stands still. 0 stays "no limit".
fn rate_per_room(rate: u32, rooms: usize) -> u32 {
    rate.div_ceil((rooms as u32).max(1))
}

fn may_pass(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unavailable
            | ErrorCode::DeadlineExceeded
            | ErrorCode::ResourceExhausted
            | ErrorCode::Internal
    )
}

#[cfg(test)]
mod tests {
    use longline_types::{Load, Node};

    use super::*;

    fn node(number: u32, incarnation: u64, state: NodeState) -> Node {
        Node {
            number,
            incarnation,
            role: Role::Room,
            name: String::new(),
            idc: String::new(),
            rpc: String::new(),
            public: Vec::new(),
            noise_key: String::new(),
            state,
            load: Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        }
    }

    #[test]
    fn rooms_of_the_view_are_to_be_asked_and_those_gone_are_done() {
        let mut rooms = Rooms::new();
        let nodes = [
            node(1, 10, NodeState::Ready),
            node(2, 20, NodeState::Draining),
            node(3, 30, NodeState::Starting),
        ];
        adopt(&mut rooms, &View::new(1, nodes, Vec::new()));
        let open = |rooms: &Rooms| rooms.iter().filter(|(_, r)| !r.done).map(|(k, _)| *k).collect::<Vec<_>>();
        assert_eq!(open(&rooms), [(1, 10), (2, 20)]);
        // Room 1 has restarted, room 2 has stopped.
        adopt(&mut rooms, &View::new(2, [node(1, 11, NodeState::Ready)], Vec::new()));
        assert_eq!(open(&rooms), [(1, 11)]);
        assert_eq!(rooms.len(), 3);
    }

    #[test]
    fn the_rate_is_shared() {
        assert_eq!(rate_per_room(0, 3), 0);
        assert_eq!(rate_per_room(100, 3), 34);
        assert_eq!(rate_per_room(2, 10), 1);
        assert_eq!(rate_per_room(5, 0), 5);
    }
}
