//! Data for the business that is under way: each is sent until the room has answered, with the same sequence, over any number
//! of connections (I2).

use std::time::Duration;

use bytes::Bytes;
use longline_pb::client::{self, UplinkResult};
use longline_types::now_ms;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff::between;
use crate::binds::Binds;
use crate::outbox::Outbox;
use crate::{BindId, UplinkError};

/// Most uplinks under way; further calls wait.
const MOST: usize = 64;
/// Most that are sent and not answered; a room takes no more from one device.
const WINDOW: usize = 16;
/// How many are sent at once, and per second after that; a room closes a device that sends very many frames.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 25.0;
/// Sent again on the same connection if the room says nothing for this long.
const RESEND: Duration = Duration::from_secs(30);
/// Waits at least this long after RETRY.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// What the application asks for.
#[derive(Debug)]
pub(crate) struct UplinkRequest {
    pub(crate) bind: BindId,
    pub(crate) route: u32,
    pub(crate) payload: Bytes,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<(), UplinkError>>,
}

/// The uplinks under way, oldest first.
#[derive(Debug)]
pub(crate) struct Uplinks {
    list: Vec<Uplink>,
    next_sequence: u64,
    pace: Pace,
}

#[derive(Debug)]
struct Uplink {
    sequence: u64,
    request: UplinkRequest,
    /// When to send it, again or for the first time.
    send_at: Instant,
    /// Sent on this connection and not answered.
    on_its_way: bool,
}

/// How many may be sent now.
#[derive(Debug)]
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * PER_SECOND).min(BURST);
        self.at = self.at.max(now);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }

    /// When the next may be sent, if that is not now.
    fn ready_at(&self) -> Option<Instant> {
        (self.left < 1.0).then(|| self.at + Duration::from_secs_f64((1.0 - self.left) / PER_SECOND))
    }
}

impl Uplinks {
    /// Sequences begin with the clock, so that those of an earlier run of the application are not used again.
    pub(crate) fn new() -> Uplinks {
        let next_sequence = now_ms() << 16 | u64::from(rand::random::<u16>());
        Uplinks { list: Vec::new(), next_sequence, pace: Pace { left: BURST, at: Instant::now() } }
    }

    /// Whether another may be added.
    pub(crate) fn has_space(&self) -> bool {
        self.list.len() < MOST
    }

    pub(crate) fn add(&mut self, request: UplinkRequest, now: Instant) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.list.push(Uplink { sequence, request, send_at: now, on_its_way: false });
    }

    /// The connection is gone: whatever is not answered is to be sent again.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        for uplink in &mut self.list {
            uplink.send_at = now;
            uplink.on_its_way = false;
        }
    }

    /// A bind is gone, and with it what was to be sent for it.
    pub(crate) fn bind_ended(&mut self, bind: BindId) {
        for uplink in self.list.extract_if(.., |uplink| uplink.request.bind == bind) {
            uplink.answer(Err(UplinkError::NoBind));
        }
    }

    /// Ends what nobody waits for any more.
    pub(crate) fn expire(&mut self, now: Instant) {
        let over = |uplink: &mut Uplink| uplink.request.deadline <= now || uplink.request.reply.is_closed();
        for uplink in self.list.extract_if(.., over) {
            uplink.answer(Err(UplinkError::Deadline));
        }
    }

    /// Writes what is due and has a bind that stands.
    pub(crate) fn flush(&mut self, now: Instant, binds: &mut Binds, out: &mut Outbox) {
        let mut on_their_way = self.list.iter().filter(|uplink| uplink.on_its_way).count();
        for uplink in self.list.iter_mut().filter(|uplink| uplink.send_at <= now) {
            let bind = binds.by_id(uplink.request.bind).filter(|bind| bind.is_bound());
            let Some(bind) = bind else { continue };
            let another = !uplink.on_its_way;
            if out.is_full() || (another && on_their_way == WINDOW) || !self.pace.take(now) {
                break;
            }
            on_their_way += usize::from(another);
            out.send(&client::Uplink {
                index: bind.index.into(),
                route: uplink.request.route,
                payload: uplink.request.payload.clone(),
                sequence: uplink.sequence,
            });
            uplink.send_at = now + RESEND;
            uplink.on_its_way = true;
        }
    }

    /// When [`Uplinks::flush`] or [`Uplinks::expire`] has something to do next. A time that has passed waits for its bind, for
    /// the window or for the pace, not for the clock.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let paced = self.pace.ready_at().filter(|at| *at > now && !self.list.is_empty());
        self.list
            .iter()
            .flat_map(|uplink| [Some(uplink.request.deadline), Some(uplink.send_at).filter(|at| *at > now)])
            .flatten()
            .chain(paced)
            .min()
    }

    /// Takes the room's answer.
    pub(crate) fn answered(&mut self, ack: &client::UplinkAck, now: Instant) {
        let Some(at) = self.list.iter().position(|uplink| uplink.sequence == ack.sequence) else { return };
        let answer = match ack.result() {
            UplinkResult::Ok => Ok(()),
            UplinkResult::NoRoute => Err(UplinkError::NoRoute),
            UplinkResult::Refused => Err(UplinkError::Refused),
            UplinkResult::Retry | UplinkResult::Unspecified => {
                let asked = Duration::from_millis(ack.retry_after_ms.into()).max(SHORTEST_RETRY);
                self.list[at].send_at = now + between(asked, asked * 2);
                self.list[at].on_its_way = false;
                return;
            }
        };
        self.list.remove(at).answer(answer);
    }
}

impl Uplink {
    /// The application may have stopped waiting, which is its right.
    fn answer(self, answer: Result<(), UplinkError>) {
        let _ = self.request.reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use longline_pb::client::{BindResult, Bound};
    use longline_types::Address;
    use longline_wire::{Limits, decode};

    use super::*;

    struct Rig {
        uplinks: Uplinks,
        binds: Binds,
        bind: BindId,
        now: Instant,
    }

    impl Rig {
        fn new() -> Rig {
            let (mut binds, now) = (Binds::default(), Instant::now());
            let bind = binds.add(Address::new(1, "alice").unwrap(), String::new()).unwrap();
            Rig { uplinks: Uplinks::new(), binds, bind, now }
        }

        fn bound(&mut self) {
            self.binds.hello(self.now);
            let ok = Bound { result: BindResult::Ok.into(), ..Bound::default() };
            self.binds.bound(&ok, self.now);
        }

        fn add(&mut self) -> oneshot::Receiver<Result<(), UplinkError>> {
            let (reply, answer) = oneshot::channel();
            let deadline = self.now + Duration::from_secs(60);
            let (bind, route, payload) = (self.bind, 3, Bytes::from_static(b"x"));
            self.uplinks.add(UplinkRequest { bind, route, payload, deadline, reply }, self.now);
            answer
        }

        fn sent(&mut self) -> Vec<u64> {
            let mut out = Outbox::default();
            self.uplinks.flush(self.now, &mut self.binds, &mut out);
            let (mut bytes, mut sequences) = (out.bytes(), Vec::new());
            while let Some((frame, used)) = decode(bytes, &Limits::FROM_DEVICE).unwrap() {
                sequences.push(frame.parse::<client::Uplink>().unwrap().sequence);
                bytes = &bytes[used..];
            }
            sequences
        }

        fn answer(&mut self, sequence: u64, result: UplinkResult) {
            let ack = client::UplinkAck { sequence, result: result.into(), retry_after_ms: 1000 };
            self.uplinks.answered(&ack, self.now);
        }
    }

    #[test]
    fn it_waits_for_its_bind_and_is_sent_once() {
        let mut rig = Rig::new();
        let mut answer = rig.add();
        assert!(rig.sent().is_empty());
        rig.bound();
        let sequence = rig.sent()[0];
        assert!(rig.sent().is_empty());
        rig.answer(sequence + 1, UplinkResult::Ok);
        assert!(answer.try_recv().is_err());
        rig.answer(sequence, UplinkResult::Ok);
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn the_same_sequence_is_sent_again_until_it_is_answered() {
        let mut rig = Rig::new();
        let mut answer = rig.add();
        rig.bound();
        let first = rig.sent();
        rig.answer(first[0], UplinkResult::Retry);
        assert!(rig.sent().is_empty());
        rig.now += Duration::from_secs(2);
        assert_eq!(rig.sent(), first, "after RETRY");
        rig.uplinks.disconnected(rig.now);
        rig.bound();
        assert_eq!(rig.sent(), first, "after a reconnect");
        rig.now += RESEND;
        assert_eq!(rig.sent(), first, "after a long silence");
        rig.answer(first[0], UplinkResult::NoRoute);
        assert_eq!(answer.try_recv().unwrap(), Err(UplinkError::NoRoute));
    }

    #[test]
    fn each_has_a_sequence_of_its_own_and_their_number_is_bounded() {
        let mut rig = Rig::new();
        rig.bound();
        let answers: Vec<_> = (0..MOST).map(|_| rig.add()).collect();
        assert!(!rig.uplinks.has_space());
        let first: std::collections::HashSet<_> = rig.sent().into_iter().collect();
        assert_eq!(first.len(), WINDOW);
        first.iter().for_each(|sequence| rig.answer(*sequence, UplinkResult::Ok));
        let next: std::collections::HashSet<_> = rig.sent().into_iter().collect();
        assert_eq!((next.len(), next.intersection(&first).count()), (WINDOW, 0));
        drop(answers);
        rig.uplinks.expire(rig.now);
        assert!(rig.uplinks.has_space() && rig.uplinks.list.is_empty());
    }

    #[test]
    fn a_flood_is_paced() {
        let mut rig = Rig::new();
        rig.bound();
        let (mut sent, begun) = (0, rig.now);
        while rig.now < begun + Duration::from_secs(10) {
            let _answer = rig.add();
            for sequence in rig.sent() {
                sent += 1;
                rig.answer(sequence, UplinkResult::Ok);
            }
            let due = rig.uplinks.due(rig.now);
            rig.now = due.map_or(rig.now + Duration::from_millis(1), |due| {
                due.min(rig.now + Duration::from_millis(1))
            });
            rig.uplinks.expire(rig.now);
        }
        assert!((340..=360).contains(&sent), "{sent}: a burst of 100, then 25 a second");
    }

    #[test]
    fn it_ends_with_its_deadline_or_its_bind() {
        let mut rig = Rig::new();
        let (mut late, deadline) = (rig.add(), rig.now + Duration::from_secs(60));
        assert_eq!(rig.uplinks.due(rig.now), Some(deadline));
        rig.now = deadline;
        rig.uplinks.expire(rig.now);
        assert_eq!(late.try_recv().unwrap(), Err(UplinkError::Deadline));
        let mut orphan = rig.add();
        rig.uplinks.bind_ended(rig.bind);
        assert_eq!(orphan.try_recv().unwrap(), Err(UplinkError::NoBind));
    }
}
