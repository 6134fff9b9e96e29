//! Devices that come back to another shard than the one that has their session (D8). The kernel spreads connections over the shards, so
//! that of N shards nearly every one is the wrong one: connection and socket cross over once HELLO has shown the token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use super::core::Emigrant;
use super::sockets::Socket;
use crate::admission::Passed;

/// Most that wait for one shard; further ones begin a new session where they are.
const WAITING: usize = 4096;

/// One device on its way.
pub(crate) struct Crossing {
    pub(crate) emigrant: Emigrant,
    pub(crate) socket: Socket,
    pub(crate) passed: Passed,
}

/// Where the shards of a room hand each other devices.
pub(crate) struct Crossings {
    /// By the number of the shard that they are for.
    shores: Vec<Shore>,
}

struct Shore {
    waiting: Mutex<Waiting>,
    waker: Arc<Waker>,
}

#[derive(Default)]
struct Waiting {
    crossings: VecDeque<Box<Crossing>>,
    closed: bool,
}

impl Crossings {
    /// For shards with these wakers.
    pub(crate) fn new(wakers: impl IntoIterator<Item = Arc<Waker>>) -> Crossings {
        let shore = |waker| Shore { waiting: Mutex::default(), waker };
        Crossings { shores: wakers.into_iter().map(shore).collect() }
    }

    /// Hands the device to the shard of its session. It is given back if that has stopped, or if too many wait for it.
    pub(crate) fn send(&self, crossing: Box<Crossing>) -> Result<(), Box<Crossing>> {
        let Some(shore) = self.shores.get(usize::from(crossing.emigrant.shard())) else {
            return Err(crossing);
        };
        let mut waiting = shore.lock();
        if waiting.closed || waiting.crossings.len() >= WAITING {
            return Err(crossing);
        }
        let was_empty = waiting.crossings.is_empty();
        waiting.crossings.push_back(crossing);
        drop(waiting);
        if was_empty {
            // It fails only if the shard's poll is gone, and with it the shard.
            let _ = shore.waker.wake();
        }
        Ok(())
    }

    /// Those who have come for this shard.
    pub(crate) fn take(&self, shard: u8) -> VecDeque<Box<Crossing>> {
        let shore = self.shores.get(usize::from(shard));
        shore.map(|shore| std::mem::take(&mut shore.lock().crossings)).unwrap_or_default()
    }

    /// The shard takes nobody any more. Those who still come are told to begin anew, as who comes to a room that stops.
    pub(crate) fn close(&self, shard: u8) {
        if let Some(shore) = self.shores.get(usize::from(shard)) {
            shore.lock().closed = true;
        }
    }
}

impl Shore {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use longline_pb::client::{Bind, Hello};
    use longline_types::SessionId;
    use mio::{Poll, Token};

    use super::*;
    use crate::EngineConfig;
    use crate::admission::{Admission, AdmissionConfig, Gate};
    use crate::metrics::Counters;
    use crate::resume::{ResumeKey, ResumeToken};
    use crate::session::Now;
    use crate::shard::Core;
    use crate::shard::core::Place;
    use crate::shard::sockets::Sockets;

    const NOW: Now = Now { ms: 1000, wall_ms: 1_800_000_000_000 };

    /// The second of two shards.
    fn second(key: &ResumeKey) -> Core {
        let config = EngineConfig { shards: 2, ..EngineConfig::default() };
        Core::new(1, config, Arc::new(Counters::default()), Arc::default(), key.clone(), 1)
    }

    /// A device of the second shard that shows a token of the first.
    fn arrives(core: &mut Core, key: &ResumeKey, poll: &Poll) -> Box<Crossing> {
        let token = ResumeToken { session: SessionId::new(0, 5, 0), begun_ms: 7, resumes: 0 };
        let binds = vec![Bind { product: 1, user: "alice".into(), ..Bind::default() }];
        let (device, resume_token) = ("device".into(), key.sign(&token));
        let hello = Hello { device, connection_counter: 2, binds, resume_token, ..Hello::default() };
        let mut bytes = longline_wire::PREFACE.to_vec();
        longline_wire::encode(&hello, &mut bytes).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = mio::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut sockets = Sockets::new();
        let index = core.accepted(NOW).unwrap();
        sockets.add(index, stream, Token(index as usize), poll.registry()).unwrap();
        let Place::Across(emigrant) = core.received(index, &bytes, NOW) else { panic!("the token is good") };
        let mut gate = Gate::new(Arc::new(Admission::new(AdmissionConfig::default(), 10)));
        let (socket, passed) = (sockets.take(index, poll.registry()).unwrap(), gate.let_go(index));
        Box::new(Crossing { emigrant: *emigrant, socket, passed })
    }

    #[test]
    fn who_crosses_arrives_once_and_nobody_is_taken_by_a_shard_that_is_full_or_stops() {
        let key = ResumeKey::random();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(9)).unwrap());
        let crossings = Crossings::new([Arc::clone(&waker), waker]);
        let mut core = second(&key);
        assert!(crossings.send(arrives(&mut core, &key, &poll)).is_ok());
        assert_eq!(core.connections().count(), 0, "it has left");
        assert_eq!((crossings.take(1).len(), crossings.take(0).len(), crossings.take(0).len()), (0, 1, 0));

        for _ in 0..WAITING {
            assert!(crossings.send(arrives(&mut core, &key, &poll)).is_ok());
        }
        let back = crossings.send(arrives(&mut core, &key, &poll)).err().unwrap();
        assert_eq!(crossings.take(0).len(), WAITING);
        let (index, returning) = core.land(back.emigrant);
        assert!(matches!(core.give_back(index, *returning, NOW), Place::Same));
        assert_eq!(core.connections().filter(|c| c.is_session()).count(), 1, "it begins anew where it is");

        crossings.close(0);
        assert!(crossings.send(arrives(&mut core, &key, &poll)).is_err());
    }
}
