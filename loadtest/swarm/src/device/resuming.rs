//! What a device keeps to get a broken session back, and when it forgets that.

use std::collections::VecDeque;
use std::net::SocketAddr;

use longline_pb::client;
use longline_types::{CloseReason, limits};

use super::{Device, Ending};
use crate::hostile::Manner;
use crate::trouble::Trouble;
use crate::world::Cx;

/// The session of a device that resumes.
#[derive(Debug)]
pub(super) struct Resumption {
    /// Where the connection under way leads, or the last one led.
    room: SocketAddr,
    /// Of the last WELCOME there; empty if there is no session to be had back.
    token: Vec<u8>,
    /// Acknowledged in this session, the latest last.
    have: VecDeque<u64>,
}

impl Device {
    /// The room that may give the session back.
    pub(super) fn room_of_session(&self) -> Option<SocketAddr> {
        self.resumption.as_ref().filter(|kept| !kept.token.is_empty()).map(|kept| kept.room)
    }

    /// It connects to this room. Who misbehaves does not resume either.
    pub(super) fn goes_to(&mut self, room: SocketAddr, cx: &Cx) {
        match &mut self.resumption {
            Some(kept) => kept.room = room,
            None if self.manner == Manner::Good && cx.world.resumes(self.user) => {
                let (token, have) = (Vec::new(), VecDeque::new());
                self.resumption = Some(Box::new(Resumption { room, token, have }));
            }
            None => {}
        }
    }

    /// What HELLO says to get the session back: the token, and what was acknowledged in it.
    pub(super) fn claim(&self) -> (Vec<u8>, Vec<client::Ack>) {
        match &self.resumption {
            Some(kept) if !kept.token.is_empty() => {
                let ids: Vec<u64> = kept.have.iter().copied().collect();
                let have = (!ids.is_empty()).then_some(client::Ack { index: 0, ids });
                (kept.token.clone(), have.into_iter().collect())
            }
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// The room has said whether it gives the session back, and offers the next token.
    pub(super) fn offered(&mut self, welcome: &client::Welcome, cx: &Cx) {
        let Some(kept) = &mut self.resumption else { return };
        match (kept.token.is_empty(), welcome.resumed) {
            (false, true) => cx.tally().resumed.add(1),
            (claimed_nothing, _) => {
                cx.tally().resumes_refused.add(u64::from(!claimed_nothing));
                kept.have = VecDeque::new();
            }
        }
        kept.token.clone_from(&welcome.resume_token);
    }

    /// The acknowledgements of these are in the kernel's hands.
    pub(crate) fn acknowledged(&mut self, ids: &[u64]) {
        let Some(kept) = self.resumption.as_mut().filter(|kept| !kept.token.is_empty()) else { return };
        kept.have.extend(ids);
        let too_many = kept.have.len().saturating_sub(limits::ACK_IDS);
        kept.have.drain(..too_many);
    }

    /// The connection is over, and with it the session, unless it broke.
    pub(super) fn keep_or_forget(&mut self, ending: Ending, welcomed: bool) {
        let broke = match ending {
            Ending::Dropped { .. } => true,
            Ending::Closed { reason, .. } => reason == u32::from(CloseReason::HeartbeatTimeout.number()),
            // Its own CLOSE, and a bind that would be left unanswered again.
            Ending::Trouble(Trouble::Protocol | Trouble::Unbound) => false,
            // One try to get it back is enough, if it was one.
            Ending::Trouble(trouble) => welcomed || trouble.is_ours(),
            Ending::Moved | Ending::Refused => false,
        };
        if !broke {
            self.forget_session();
        }
    }

    /// The session cannot be had back.
    pub(super) fn forget_session(&mut self) {
        if let Some(kept) = &mut self.resumption {
            (kept.token, kept.have) = (Vec::new(), VecDeque::new());
        }
    }
}
