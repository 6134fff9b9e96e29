//! The device's binds, and how each stands with the room.

use std::time::Duration;

use longline_pb::client::{self, BindResult};
use longline_types::{Address, limits};
use tokio::time::Instant;

use crate::BindError;
use crate::backoff::between;
use crate::outbox::Outbox;
use crate::seen::Seen;

/// Names a bind for as long as the client lives; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BindId(u64);

/// Waits at least this long before it asks again for a bind that is not available.
const SHORTEST_RETRY: Duration = Duration::from_millis(200);

/// Up to 16 binds.
#[derive(Debug, Default)]
pub(crate) struct Binds {
    list: Vec<Bind>,
    next_id: u64,
}

#[derive(Debug)]
pub(crate) struct Bind {
    pub(crate) id: BindId,
    /// Its name on the wire; free again once the room has confirmed its end, or the connection is gone.
    pub(crate) index: u8,
    pub(crate) address: Address,
    token: String,
    pub(crate) seen: Seen,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To be asked for.
    Wanted,
    /// Asked for, not answered yet.
    Asked(Instant),
    /// Messages come.
    Bound,
    /// Not available; to be asked for again at this time.
    Later(Instant),
    /// Taken away by the application, to be told to the room.
    Unwanted,
    /// Taken away and told.
    Leaving(Instant),
}

/// What a BOUND changed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    Nothing,
    Bound { id: BindId, address: Address },
    Ended { id: BindId, address: Address, result: BindResult },
}

impl Binds {
    /// Adds a bind to be asked for.
    pub(crate) fn add(&mut self, address: Address, token: String) -> Result<BindId, BindError> {
        if token.len() > limits::TOKEN {
            return Err(BindError::Token);
        }
        if self.wanted().any(|bind| bind.address == address) {
            return Err(BindError::Duplicate);
        }
        let index = (0..limits::BINDS as u8)
            .find(|index| self.list.iter().all(|bind| bind.index != *index))
            .ok_or(BindError::TooMany)?;
        let id = BindId(self.next_id);
        self.next_id += 1;
        let (seen, state) = (Seen::default(), State::Wanted);
        self.list.push(Bind { id, index, address, token, seen, state });
        Ok(id)
    }

    /// Takes a bind away; false if there is none of this name.
    pub(crate) fn remove(&mut self, id: BindId, connected: bool) -> bool {
        let Some(at) = self.list.iter().position(|bind| bind.id == id && bind.is_wanted()) else {
            return false;
        };
        match self.list[at].state {
            // The room knows nothing of it.
            State::Wanted | State::Later(_) => drop(self.list.remove(at)),
            _ if !connected => drop(self.list.remove(at)),
            _ => self.list[at].state = State::Unwanted,
        }
        true
    }

    /// Whether there is something to connect for.
    pub(crate) fn any_wanted(&self) -> bool {
        self.wanted().next().is_some()
    }

    /// The binds that the application wants.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &Bind> {
        self.list.iter().filter(|bind| bind.is_wanted())
    }

    /// The bind of this name, if it is still wanted.
    pub(crate) fn by_id(&mut self, id: BindId) -> Option<&mut Bind> {
        self.list.iter_mut().find(|bind| bind.id == id && bind.is_wanted())
    }

    /// The index of the bind of this name, if it is still wanted.
    pub(crate) fn index_of(&self, id: BindId) -> Option<u8> {
        self.wanted().find(|bind| bind.id == id).map(|bind| bind.index)
    }

    /// The bind with this index, if it is still wanted.
    pub(crate) fn by_index(&mut self, index: u8) -> Option<&mut Bind> {
        self.list.iter_mut().find(|bind| bind.index == index && bind.is_wanted())
    }

    /// The wanted binds as HELLO carries them. They count as asked for.
    pub(crate) fn hello(&mut self, now: Instant) -> Vec<client::Bind> {
        self.list.retain(Bind::is_wanted);
        self.list
            .iter_mut()
            .map(|bind| {
                bind.state = State::Asked(now);
                bind.request()
            })
            .collect()
    }

    /// The connection is gone: everything is to be asked for anew.
    pub(crate) fn disconnected(&mut self) {
        self.list.retain(Bind::is_wanted);
        self.list.iter_mut().for_each(|bind| bind.state = State::Wanted);
    }

    /// Tells the room what it does not know yet.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut Outbox) {
        for bind in &mut self.list {
            match bind.state {
                State::Wanted => bind.ask(now, out),
                State::Later(at) if at <= now => bind.ask(now, out),
                State::Unwanted => {
                    out.send(&client::Unbind { index: bind.index.into() });
                    bind.state = State::Leaving(now);
                }
                _ => {}
            }
        }
    }

    /// When [`Binds::flush`] has something to do next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.list
            .iter()
            .filter_map(|bind| match bind.state {
                State::Later(at) => Some(at),
                _ => None,
            })
            .min()
    }

    /// When the room will have left something unanswered for this long.
    pub(crate) fn unanswered_at(&self, patience: Duration) -> Option<Instant> {
        self.list
            .iter()
            .filter_map(|bind| match bind.state {
                State::Asked(since) | State::Leaving(since) => Some(since + patience),
                _ => None,
            })
            .min()
    }

    /// Takes the room's word on a bind.
    pub(crate) fn bound(&mut self, said: &client::Bound, now: Instant) -> Change {
        let Some(at) = self.list.iter().position(|bind| u32::from(bind.index) == said.index) else {
            return Change::Nothing;
        };
        let result = said.result();
        let bind = &mut self.list[at];
        match (bind.is_wanted(), result) {
            (true, BindResult::Ok) => {
                let news = bind.state != State::Bound;
                bind.state = State::Bound;
                let (id, address) = (bind.id, bind.address.clone());
                if news { Change::Bound { id, address } } else { Change::Nothing }
            }
            (true, BindResult::Unavailable) => {
                let asked = Duration::from_millis(said.retry_after_ms.into()).max(SHORTEST_RETRY);
                bind.state = State::Later(now + between(asked, asked * 2));
                Change::Nothing
            }
            (true, _) => {
                let bind = self.list.remove(at);
                Change::Ended { id: bind.id, address: bind.address, result }
            }
            // The answer to UNBIND. Where nothing was left to unbind, it is BAD_REQUEST.
            (false, BindResult::Unbound | BindResult::BadRequest) => {
                self.list.remove(at);
                Change::Nothing
            }
            // News of the bind that crossed the UNBIND on its way; the index stays taken until that is answered.
            (false, _) => Change::Nothing,
        }
    }
}

impl Bind {
    fn is_wanted(&self) -> bool {
        !matches!(self.state, State::Unwanted | State::Leaving(_))
    }

    /// Whether the room has confirmed it.
    pub(crate) fn is_bound(&self) -> bool {
        self.state == State::Bound
    }

    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        out.send(&self.request());
        self.state = State::Asked(now);
    }

    fn request(&self) -> client::Bind {
        client::Bind {
            index: self.index.into(),
            product: self.address.product.0,
            user: self.address.user.as_str().to_owned(),
            token: self.token.clone(),
            // Everything up to this number would count as had. Broadcasts come in any order, so the device cannot know that;
            // the store does.
            last_broadcast: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(user: &str) -> Address {
        Address::new(1, user).unwrap()
    }

    fn said(index: u32, result: BindResult) -> client::Bound {
        client::Bound { index, result: result.into(), ..client::Bound::default() }
    }

    #[test]
    fn sixteen_fit_and_each_address_once() {
        let mut binds = Binds::default();
        for i in 0..16 {
            binds.add(address(&format!("u{i}")), String::new()).unwrap();
        }
        assert_eq!(binds.add(address("u3"), String::new()), Err(BindError::Duplicate));
        assert_eq!(binds.add(address("u16"), String::new()), Err(BindError::TooMany));
        assert_eq!(Binds::default().add(address("a"), "x".repeat(4097)), Err(BindError::Token));
    }

    #[test]
    fn an_index_is_free_again_only_when_the_room_says_so() {
        let (mut binds, now, mut out) = (Binds::default(), Instant::now(), Outbox::default());
        let alice = binds.add(address("alice"), String::new()).unwrap();
        binds.hello(now);
        binds.bound(&said(0, BindResult::Ok), now);
        assert!(binds.remove(alice, true) && !binds.remove(alice, true));
        let bob = binds.add(address("bob"), String::new()).unwrap();
        assert_eq!(binds.by_id(bob).unwrap().index, 1);
        binds.flush(now, &mut out);
        assert_eq!(binds.bound(&said(0, BindResult::Unbound), now), Change::Nothing);
        let again = binds.add(address("alice"), String::new()).unwrap();
        assert_ne!(again, alice);
        assert_eq!(binds.by_id(again).unwrap().index, 0);
    }

    #[test]
    fn a_refusal_that_crosses_an_unbind_does_not_free_the_index() {
        let (mut binds, now, mut out) = (Binds::default(), Instant::now(), Outbox::default());
        let alice = binds.add(address("alice"), String::new()).unwrap();
        binds.hello(now);
        binds.remove(alice, true);
        binds.flush(now, &mut out);
        binds.bound(&said(0, BindResult::BadToken), now);
        let bob = binds.add(address("bob"), String::new()).unwrap();
        assert_eq!(binds.by_id(bob).unwrap().index, 1);
        binds.bound(&said(0, BindResult::BadRequest), now);
        let carol = binds.add(address("carol"), String::new()).unwrap();
        assert_eq!(binds.by_id(carol).unwrap().index, 0);
    }

    #[test]
    fn what_is_not_available_is_asked_for_again_later() {
        let (mut binds, now, mut out) = (Binds::default(), Instant::now(), Outbox::default());
        binds.add(address("alice"), String::new()).unwrap();
        binds.hello(now);
        let later = client::Bound { retry_after_ms: 1000, ..said(0, BindResult::Unavailable) };
        assert_eq!(binds.bound(&later, now), Change::Nothing);
        binds.flush(now, &mut out);
        assert!(out.is_empty());
        let due = binds.due().unwrap();
        assert!((1000..=2000).contains(&(due - now).as_millis()));
        binds.flush(due, &mut out);
        assert!(!out.is_empty());
    }

    #[test]
    fn every_refusal_ends_the_bind_and_a_second_ok_is_no_news() {
        let now = Instant::now();
        for result in
            [BindResult::BadToken, BindResult::Displaced, BindResult::Stale, BindResult::Unspecified]
        {
            let mut binds = Binds::default();
            let id = binds.add(address("alice"), String::new()).unwrap();
            binds.hello(now);
            assert!(matches!(binds.bound(&said(0, BindResult::Ok), now), Change::Bound { .. }));
            assert_eq!(binds.bound(&said(0, BindResult::Ok), now), Change::Nothing);
            let ended = Change::Ended { id, address: address("alice"), result };
            assert_eq!(binds.bound(&said(0, result), now), ended);
            assert_eq!(binds.bound(&said(0, result), now), Change::Nothing);
            assert!(!binds.any_wanted());
        }
    }

    #[test]
    fn a_new_connection_asks_for_everything_that_is_wanted() {
        let now = Instant::now();
        let mut binds = Binds::default();
        let alice = binds.add(address("alice"), "t".into()).unwrap();
        binds.add(address("bob"), String::new()).unwrap();
        binds.hello(now);
        binds.remove(alice, true);
        assert!(binds.unanswered_at(Duration::from_secs(1)).is_some());
        binds.disconnected();
        assert_eq!(binds.unanswered_at(Duration::from_secs(1)), None);
        let users: Vec<_> = binds.hello(now).into_iter().map(|b| (b.index, b.user)).collect();
        assert_eq!(users, [(1, "bob".to_owned())]);
    }
}
