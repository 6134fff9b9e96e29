//! A session between two connections (D8): what is kept of it, and how it goes on.

use longline_pb::client::{self, BindResult};
use longline_types::CloseReason;

use super::Connection;
use super::bind::Bind;
use super::ending::Ending;
use super::greeting::{Introduction, WantedBind};
use super::heartbeat::Wish;
use super::open::{Opening, Session};
use super::turn::Turn;
use crate::metrics::NoResume;
use crate::resume::ResumeToken;

/// A session that was resumed this often gets no more tokens: its device begins a new one.
const MOST_RESUMES: u8 = u8::MAX;

impl Session {
    /// Whether it is worth keeping: the device was welcomed, and something is bound.
    pub(super) fn may_park(&self, t: &Turn<'_>) -> bool {
        t.env.config.park_ms > 0
            && t.env.draining.is_none()
            && self.opening.is_none()
            && self.resumes != MOST_RESUMES
            && self.binds.iter().any(|b| !b.is_new())
    }

    /// The connection is gone. Of what was under way only ids and marks stay.
    pub(super) fn interrupt(&mut self, t: &mut Turn<'_>) {
        for bind in self.binds.iter_mut() {
            if bind.interrupt() {
                t.env.loads.forgotten(1);
            }
        }
    }

    /// Bytes of memory that it takes, its place included.
    pub(super) fn memory(&self) -> usize {
        let more = self.binds.len().saturating_sub(1) * size_of::<Bind>();
        let binds: usize = self.binds.iter().map(Bind::memory).sum();
        size_of::<Connection>() + self.profile.memory() + more + binds
    }

    /// What the device is to show when it comes back; nothing if the session will not be parked.
    pub(super) fn resume_token(&self, t: &Turn<'_>) -> Vec<u8> {
        if t.env.config.park_ms == 0 || self.resumes == MOST_RESUMES {
            return Vec::new();
        }
        let token = ResumeToken { session: t.id, begun_ms: self.connected_at_ms, resumes: self.resumes };
        t.env.resume_key.sign(&token)
    }

    /// Whether the device that shows the token may have this session.
    pub(super) fn admits(&self, token: &ResumeToken, hello: &Introduction) -> Result<(), NoResume> {
        if token.begun_ms != self.connected_at_ms {
            Err(NoResume::Gone)
        } else if hello.device.hash != self.device.hash {
            Err(NoResume::OtherDevice)
        } else if token.resumes != self.resumes || hello.device.counter <= self.device.counter {
            Err(NoResume::Used)
        } else {
            Ok(())
        }
    }

    /// The device is back, on another connection. Binds that it names again stay as they are, the others are let go of, new ones are
    /// asked for. What it says to have is acknowledged; the rest of what was in flight is loaded.
    pub(super) fn resume(&mut self, hello: Introduction, t: &mut Turn<'_>) -> Result<(), Ending> {
        let Introduction { device, profile, wish, binds, have, ticket, .. } = hello;
        let missed_connections = device.counter > self.device.counter + 1;
        self.device = device;
        self.profile = profile.sharing(&mut t.env.names);
        self.heartbeat_s = self.heartbeat_after(wish, t);
        self.wish = wish;
        self.resumes += 1;
        self.last_seen = t.now.ms;
        self.opening = Some(Box::new(Opening { deadline: u64::MAX, decided: Vec::new(), resumed: true }));

        let kept = self.keep(&binds);
        self.let_go_of_others(&kept, t);
        for (wanted, kept) in binds.into_iter().zip(kept) {
            match kept {
                Some(index) => self.tell_kept(index, t),
                None => self.want(wanted, ticket.as_ref(), t),
            }
        }
        for ack in have {
            self.acknowledge(ack, t);
        }
        for bind in self.binds.iter_mut() {
            if bind.flight().is_some_and(|f| f.has_due()) {
                bind.mark_dirty();
            }
        }
        self.confirm_routes(missed_connections, t);
        self.welcome(t)
    }

    /// Whether the session has this bind.
    pub(super) fn has(&self, wanted: &WantedBind) -> bool {
        self.binds.iter().any(|bind| wanted.is(bind))
    }

    /// For each wanted bind the index under which the session has it already.
    fn keep(&mut self, wanted: &[Result<WantedBind, client::Bound>]) -> Vec<Option<u8>> {
        let mut kept = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let index = wanted.as_ref().ok().and_then(|wanted| {
                let bind = self.binds.by_index(wanted.index.into()).filter(|b| wanted.is(b))?;
                bind.seen_broadcast = bind.seen_broadcast.max(wanted.seen_broadcast);
                Some(wanted.index)
            });
            // One that is named twice is refused the second time, as in any HELLO.
            kept.push(index.filter(|index| !kept.contains(&Some(*index))));
        }
        kept
    }

    fn let_go_of_others(&mut self, kept: &[Option<u8>], t: &mut Turn<'_>) {
        let others: Vec<u8> =
            self.binds.iter().map(|b| b.index).filter(|index| !kept.contains(&Some(*index))).collect();
        for index in others {
            if let Some(bind) = self.binds.remove(index) {
                self.let_go(bind, CloseReason::ClientGone, t);
            }
        }
    }

    /// How a bind stands that the session has. One that the cluster has not decided on is told by BOUND when it has.
    fn tell_kept(&mut self, index: u8, t: &mut Turn<'_>) {
        let Some(bind) = self.binds.by_index(index.into()).filter(|b| !b.is_new()) else { return };
        let (index, window, result) = (index.into(), bind.window.into(), BindResult::Ok.into());
        self.tell(client::Bound { index, result, window, ..client::Bound::default() }, t);
    }

    /// The interval for what the device wishes now, and for what its products have wished.
    fn heartbeat_after(&self, wish: Wish, t: &Turn<'_>) -> u32 {
        let of_products = self.heartbeat_s < self.wish.choose(0, &t.env.config);
        wish.choose(if of_products { self.heartbeat_s } else { 0 }, &t.env.config)
    }

    /// Has the register confirm the routes behind the scenes (D8), soon. At once if the device has tried other connections since: one of
    /// them may still arrive somewhere, and the register must know that this one is newer (R1).
    fn confirm_routes(&mut self, at_once: bool, t: &mut Turn<'_>) {
        if at_once && !t.env.congested {
            self.assert_routes(|_| true, None, t);
        }
        let within = t.env.config.check_soon_ms;
        self.check_soon(within, t);
    }
}
