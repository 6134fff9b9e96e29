//! What gets a broken session back: the token of the latest WELCOME, and what was acknowledged since the session began (D8).

use std::collections::VecDeque;

use longline_pb::client;
use longline_types::limits;

use crate::BindId;

/// A room's tokens are no longer than this, in bytes; a longer one is none.
const LONGEST_TOKEN: usize = 64;

/// The session that the device may have back, if there is one.
#[derive(Debug)]
pub(crate) struct Resumption {
    enabled: bool,
    offer: Option<Offer>,
    /// Acknowledged in this session, the latest last; at most as many as a HELLO may name.
    have: VecDeque<(BindId, u64)>,
}

/// A session that its room parks if the connection breaks.
#[derive(Debug)]
struct Offer {
    /// The room's endpoint. Nobody else is shown the token, which is a secret.
    room: String,
    token: Vec<u8>,
}

impl Resumption {
    pub(crate) fn new(enabled: bool) -> Resumption {
        Resumption { enabled, offer: None, have: VecDeque::new() }
    }

    /// What to show to the room at this endpoint; nothing if it has no session of the device.
    pub(crate) fn token(&self, endpoint: &str) -> Option<&[u8]> {
        self.offer.as_ref().filter(|offer| offer.room == endpoint).map(|offer| &offer.token[..])
    }

    /// What was acknowledged, by the index that `index_of` knows for a bind.
    pub(crate) fn have(&self, index_of: impl Fn(BindId) -> Option<u8>) -> Vec<client::Ack> {
        let mut acks: Vec<client::Ack> = Vec::new();
        for &(bind, id) in &self.have {
            let Some(index) = index_of(bind).map(u32::from) else { continue };
            match acks.iter_mut().find(|ack| ack.index == index) {
                Some(ack) => ack.ids.push(id),
                None => acks.push(client::Ack { index, ids: vec![id] }),
            }
        }
        acks
    }

    /// A room has welcomed the device. Whether it has given back the session of the token that it was shown.
    pub(crate) fn welcomed(&mut self, endpoint: &str, token: &[u8], resumed: bool) -> bool {
        let resumed = resumed && self.token(endpoint).is_some();
        if !resumed {
            self.have.clear();
        }
        let is_offer = self.enabled && !token.is_empty() && token.len() <= LONGEST_TOKEN;
        self.offer = is_offer.then(|| Offer { room: endpoint.to_owned(), token: token.to_vec() });
        resumed
    }

    /// The application has this message safe; that may be known already.
    pub(crate) fn acknowledged(&mut self, bind: BindId, id: u64) {
        if self.offer.is_none() || self.have.contains(&(bind, id)) {
            return;
        }
        if self.have.len() == limits::ACK_IDS {
            self.have.pop_front();
        }
        self.have.push_back((bind, id));
    }

    /// A bind is gone, and what came on it is of no more use.
    pub(crate) fn bind_ended(&mut self, bind: BindId) {
        self.have.retain(|(of, _)| *of != bind);
    }

    /// The session is over for good.
    pub(crate) fn forget(&mut self) {
        self.offer = None;
        self.have.clear();
    }
}

#[cfg(test)]
mod tests {
    use longline_types::Address;

    use super::*;
    use crate::binds::Binds;

    /// Two binds, with their indices.
    fn binds() -> [(BindId, u8); 2] {
        let mut binds = Binds::default();
        ["alice", "bob"].map(|user| {
            let id = binds.add(Address::new(1, user).unwrap(), String::new()).unwrap();
            (id, binds.by_id(id).unwrap().index)
        })
    }

    fn offered() -> Resumption {
        let mut resumption = Resumption::new(true);
        assert!(!resumption.welcomed("room", b"token", false));
        resumption
    }

    fn index_of(binds: &[(BindId, u8)]) -> impl Fn(BindId) -> Option<u8> {
        |id| binds.iter().find(|(bind, _)| *bind == id).map(|(_, index)| *index)
    }

    #[test]
    fn a_token_is_for_its_room_alone() {
        let resumption = offered();
        assert_eq!(resumption.token("room"), Some(&b"token"[..]));
        assert_eq!(resumption.token("another"), None);
    }

    #[test]
    fn acknowledgements_are_told_by_bind_and_those_of_a_bind_that_ended_are_not() {
        let (mut resumption, binds) = (offered(), binds());
        let [(alice, _), (bob, _)] = binds;
        for (bind, id) in [(alice, 1), (bob, 2), (alice, 3), (alice, 1)] {
            resumption.acknowledged(bind, id);
        }
        let ack = |index, ids: &[u64]| client::Ack { index, ids: ids.to_vec() };
        assert_eq!(resumption.have(index_of(&binds)), [ack(0, &[1, 3]), ack(1, &[2])]);
        assert_eq!(resumption.have(index_of(&binds[1..])), [ack(1, &[2])], "alice is not wanted any more");
        resumption.bind_ended(bob);
        assert_eq!(resumption.have(index_of(&binds)), [ack(0, &[1, 3])]);
    }

    #[test]
    fn the_latest_1024_of_all_binds_are_kept() {
        let (mut resumption, binds) = (offered(), binds());
        for id in 0..1100 {
            resumption.acknowledged(binds[id as usize % 2].0, id);
        }
        let have = resumption.have(index_of(&binds));
        let mut ids: Vec<u64> = have.into_iter().flat_map(|ack| ack.ids).collect();
        ids.sort_unstable();
        assert_eq!(ids, (76..1100).collect::<Vec<_>>());
    }

    #[test]
    fn a_session_that_goes_on_keeps_what_it_has_and_a_fresh_one_begins_with_nothing() {
        let (mut resumption, binds) = (offered(), binds());
        resumption.acknowledged(binds[0].0, 1);
        assert!(resumption.welcomed("room", b"next", true));
        assert_eq!(resumption.token("room"), Some(&b"next"[..]));
        assert_eq!(resumption.have(index_of(&binds)).len(), 1);
        assert!(!resumption.welcomed("room", b"fresh", false));
        assert_eq!(resumption.have(index_of(&binds)), []);
        resumption.acknowledged(binds[0].0, 2);
        assert!(!resumption.welcomed("another", b"t", true), "it was shown no token");
        assert_eq!(resumption.have(index_of(&binds)), []);
    }

    #[test]
    fn without_an_offer_nothing_is_kept() {
        for (enabled, token) in [(true, &b""[..]), (true, &[7; 65]), (false, b"token")] {
            let (mut resumption, binds) = (Resumption::new(enabled), binds());
            resumption.welcomed("room", token, false);
            resumption.acknowledged(binds[0].0, 1);
            assert_eq!((resumption.token("room"), resumption.have.len()), (None, 0));
        }
        let (mut resumption, binds) = (offered(), binds());
        resumption.acknowledged(binds[0].0, 1);
        resumption.forget();
        assert_eq!((resumption.token("room"), resumption.have.len()), (None, 0));
    }
}
