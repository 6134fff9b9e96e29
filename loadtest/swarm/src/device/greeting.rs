//! From connect() to HELLO.

use std::net::SocketAddr;

use longline_pb::client;
use longline_wire::{PREFACE, encode};

use super::{Device, State};
use crate::Transport;
use crate::hostile::Rubbish;
use crate::time::Ms;
use crate::world::Cx;

/// From connect() to WELCOME.
const HANDSHAKE_MS: Ms = 10_000;
/// A mute device waits this long for the room to lose patience.
const MUTE_MS: Ms = 60_000;
/// Asked where to connect again after this, if nobody knew.
const UNROUTED_MS: (Ms, Ms) = (50, 150);

const SDK: &str = concat!("longline-loadtest/", env!("CARGO_PKG_VERSION"));

impl Device {
    /// Where to connect now. If nobody knows, it has a new time to ask.
    pub(crate) fn route(&mut self, cx: &mut Cx) -> Option<SocketAddr> {
        let named = self.moving.as_mut().and_then(|moving| moving.room.take());
        let known = named.or_else(|| self.room_of_session());
        let room = known.or_else(|| cx.world.options.routes.room(self.user, self.attempt.into()));
        match room {
            Some(room) => self.goes_to(room, cx),
            None => {
                cx.tally().unrouted.add(1);
                self.until = cx.now.ms + cx.chance.between(UNROUTED_MS.0, UNROUTED_MS.1);
                cx.rearm = true;
            }
        }
        room
    }

    /// A connection is being made.
    pub(crate) fn opening(&mut self, cx: &mut Cx) {
        self.connection += 1;
        self.enter(State::Opening, cx);
        self.until = cx.now.ms + HANDSHAKE_MS;
        cx.tally().connects.add(1);
        cx.rearm = true;
    }

    /// The connection is made: says hello, or what it says instead.
    pub(crate) fn opened(&mut self, cx: &mut Cx) {
        self.enter(State::Greeting, cx);
        let manner = cx.manner(self.manner);
        if manner.is_mute(self.user, self.connection) {
            self.until = cx.now.ms + MUTE_MS;
            return;
        }
        match manner.rubbish(self.user, self.connection) {
            Some(rubbish @ Rubbish::InsteadOfHello) => rubbish.write(&mut cx.chance, &mut cx.out),
            _ => self.hello(cx),
        }
    }

    fn hello(&mut self, cx: &mut Cx) {
        let network = cx.world.network(self.user);
        let (resume_token, have) = self.claim();
        let hello = client::Hello {
            device: cx.world.name(self.user),
            connection_counter: cx.world.time.began_ms() + u64::from(self.connection),
            sdk: SDK.to_owned(),
            platform: std::env::consts::OS.to_owned(),
            network: network.map_or(client::Network::Unspecified, |network| network.kind).into(),
            heartbeat_min_s: network.map_or(0, |network| network.heartbeat_s.0),
            heartbeat_max_s: network.map_or(0, |network| network.heartbeat_s.1),
            binds: vec![self.bind(cx)],
            resume_token,
            have,
            ticket: self.moving.as_ref().map_or_else(Vec::new, |moving| moving.ticket.clone()),
        };
        // Noise has said its own before its handshake.
        if cx.world.transport(self.user) != Transport::Noise {
            cx.out.extend_from_slice(&PREFACE);
        }
        encode(&hello, &mut cx.out).expect("prefix and token are far below the limit of HELLO");
    }

    pub(super) fn bind(&self, cx: &Cx) -> client::Bind {
        let user = cx.world.name(self.user);
        // A name that is none is refused by the room, which is counted.
        let token = cx.world.token(&user, cx.now).unwrap_or_default();
        client::Bind { index: 0, product: cx.world.options.product, user, token, last_broadcast: 0 }
    }
}
