//! The device without its sockets: binds, messages, acknowledgements and uplinks, over all its connections.

use std::collections::VecDeque;
use std::time::Duration;

use longline_pb::client::{self, BindResult, Network, PushFlag};
use longline_types::{Address, MessageId};
use oneshot::Sender;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::acks::Acks;
use crate::binds::{Binds, Change};
use crate::inputs::{Command, Input};
use crate::outbox::Outbox;
use crate::resume::Resumption;
use crate::seen::Sight;
use crate::uplinks::Uplinks;
use crate::{BindId, Closed, Event, Message};

/// What the device says about itself in HELLO.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) device: String,
    pub(crate) network: Network,
    /// Shortest and longest interval it can keep, seconds; 0 for no wish.
    pub(crate) heartbeat: (u32, u32),
}

impl Identity {
    pub(crate) fn new(device: String) -> Identity {
        Identity { device, network: Network::Unspecified, heartbeat: (0, 0) }
    }
}

/// When a message is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AckMode {
    /// As the application takes it.
    Auto,
    /// When the application says so.
    Explicit,
    /// Never.
    Never,
}

/// Everything that outlives a connection.
#[derive(Debug)]
pub(crate) struct Device {
    identity: Identity,
    ack_mode: AckMode,
    binds: Binds,
    acks: Acks,
    uplinks: Uplinks,
    resumption: Resumption,
    /// Of the room that sent the device away, for the next; empty if there is none.
    ticket: Vec<u8>,
    /// A room has welcomed the device on the present connection.
    connected: bool,
    /// For the application, where its queue was full. Nothing is read from the room while there are any, so that they are never
    /// more than one frame makes.
    pub(crate) events: VecDeque<Event>,
}

impl Device {
    pub(crate) fn new(identity: Identity, binds: Binds, ack_mode: AckMode, resumption: Resumption) -> Device {
        Device {
            identity,
            ack_mode,
            binds,
            acks: Acks::default(),
            uplinks: Uplinks::new(),
            resumption,
            ticket: Vec::new(),
            connected: false,
            events: VecDeque::new(),
        }
    }

    /// The address that the dispatcher is asked for; none while there is nothing to connect for.
    pub(crate) fn first_address(&self) -> Option<Address> {
        self.binds.wanted().next().map(|bind| bind.address.clone())
    }

    /// The first frame of a connection to the room at this endpoint.
    pub(crate) fn hello(&mut self, endpoint: &str, connection_counter: u64, now: Instant) -> client::Hello {
        let binds = self.binds.hello(now);
        let (resume_token, have) = match self.resumption.token(endpoint) {
            Some(token) => (token.to_vec(), self.resumption.have(|bind| self.binds.index_of(bind))),
            None => (Vec::new(), Vec::new()),
        };
        client::Hello {
            device: self.identity.device.clone(),
            connection_counter,
            sdk: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            network: self.identity.network.into(),
            binds,
            heartbeat_min_s: self.identity.heartbeat.0,
            heartbeat_max_s: self.identity.heartbeat.1,
            resume_token,
            have,
            ticket: self.ticket.clone(),
        }
    }

    /// A room has answered HELLO. How the binds stand is not looked at.
    pub(crate) fn welcomed(&mut self, endpoint: &str, welcome: &client::Welcome) {
        self.connected = true;
        self.ticket.clear();
        let resumed = self.resumption.welcomed(endpoint, &welcome.resume_token, welcome.resumed);
        let (endpoint, session) = (endpoint.to_owned(), welcome.session);
        self.events.push_back(Event::Connected { endpoint, session, resumed });
    }

    /// A room wants the device to go, with this to show to the next. So the session ends there.
    pub(crate) fn sent_away(&mut self, ticket: Vec<u8>) {
        self.ticket = ticket;
        self.resumption.forget();
    }

    /// The session at this endpoint, if there is one, was ended by either side: it cannot be had back.
    pub(crate) fn session_ended(&mut self, endpoint: &str) {
        if self.may_resume(endpoint) {
            self.resumption.forget();
        }
    }

    /// Whether the room at this endpoint may give the session back.
    pub(crate) fn may_resume(&self, endpoint: &str) -> bool {
        self.resumption.token(endpoint).is_some()
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        self.connected = false;
        self.acks.clear();
        self.binds.disconnected();
        self.uplinks.disconnected(now);
    }

    /// Takes the room's word on a bind. If none is left then, the reason to stop.
    pub(crate) fn bound(&mut self, said: client::Bound, now: Instant) -> Option<Closed> {
        match self.binds.bound(&said, now) {
            Change::Nothing => None,
            Change::Bound { id, address } => {
                self.events.push_back(Event::Bound { bind: id, address, window: said.window });
                None
            }
            Change::Ended { id, address, result } => self.bind_ended(id, address, result, said.detail),
        }
    }

    fn bind_ended(
        &mut self,
        bind: BindId,
        address: Address,
        result: BindResult,
        detail: String,
    ) -> Option<Closed> {
        self.uplinks.bind_ended(bind);
        self.resumption.bind_ended(bind);
        let (gone, why) = (address.clone(), detail.clone());
        self.events.push_back(Event::BindEnded { bind, address, result, detail });
        (!self.binds.any_wanted()).then_some(Closed::NoBindLeft { address: gone, result, detail: why })
    }

    /// Takes a message: tells it once, and acknowledges a duplicate of what was acknowledged (D6).
    pub(crate) fn pushed(&mut self, index: u8, push: client::Push, now: Instant) {
        let Some(bind) = self.binds.by_index(index) else {
            tracing::debug!(index, id = push.id, "a message for a bind that has ended");
            return;
        };
        let has = |flag: PushFlag| push.flags & flag as u32 != 0;
        let transient = has(PushFlag::Transient);
        if !transient && let Sight::Again { acked } = bind.seen.see(push.id) {
            if acked && self.ack_mode != AckMode::Never {
                self.acks.push(index, push.id, now);
                self.resumption.acknowledged(bind.id, push.id);
            }
            return;
        }
        self.events.push_back(Event::Message(Message {
            bind: bind.id,
            address: bind.address.clone(),
            id: MessageId(push.id),
            sent_at_ms: push.sent_at_ms,
            expires_at_ms: push.expires_at_ms,
            redelivered: has(PushFlag::Redelivered),
            broadcast: has(PushFlag::Broadcast),
            notify_only: has(PushFlag::NotifyOnly),
            transient,
            payload: push.payload,
        }));
    }

    /// Takes the room's answer to an uplink.
    pub(crate) fn uplink_answered(&mut self, ack: &client::UplinkAck, now: Instant) {
        self.uplinks.answered(ack, now);
    }

    /// Takes what the application asks. If it asks for the end, whom to tell when it has come.
    pub(crate) fn take(&mut self, input: Input, now: Instant) -> Option<Sender<()>> {
        match input {
            Input::Ack(bind, id) => self.acknowledge(bind, id, now),
            Input::Uplink(request) => match self.binds.by_id(request.bind) {
                Some(_) => self.uplinks.add(request, now),
                None => drop(request.reply.send(Err(crate::UplinkError::NoBind))),
            },
            Input::Command(Command::Bind { address, token, reply }) => {
                let _ = reply.send(self.binds.add(address, token));
            }
            Input::Command(Command::Unbind { bind, reply }) => {
                self.uplinks.bind_ended(bind);
                self.resumption.bind_ended(bind);
                let _ = reply.send(self.binds.remove(bind, self.connected));
            }
            Input::Command(Command::Close { done }) => return Some(done),
        }
        None
    }

    /// The application has this message safe.
    pub(crate) fn acknowledge(&mut self, bind: BindId, id: MessageId, now: Instant) {
        if self.ack_mode == AckMode::Never {
            return;
        }
        let Some(bind) = self.binds.by_id(bind) else { return };
        bind.seen.acknowledge(id.0);
        self.resumption.acknowledged(bind.id, id.0);
        // Without a connection the room is told by the next HELLO, or when it sends it again.
        if self.connected {
            self.acks.push(bind.index, id.0, now);
        }
    }

    /// Whether another uplink may be taken from the application.
    pub(crate) fn takes_uplinks(&self) -> bool {
        self.uplinks.has_space()
    }

    /// Writes everything that is due.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut Outbox) {
        self.acks.flush(now, out);
        self.binds.flush(now, out);
        self.uplinks.flush(now, &mut self.binds, out);
    }

    /// Writes the acknowledgements that wait for company.
    pub(crate) fn flush_acks(&mut self, out: &mut Outbox) {
        self.acks.flush_all(out);
    }

    /// Ends uplinks whose time is up.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.uplinks.expire(now);
    }

    /// When [`Device::expire`] has something to do next, and [`Device::flush`] on a connection.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let on_connection = if self.connected { [self.acks.due(), self.binds.due()] } else { [None, None] };
        on_connection.into_iter().flatten().chain(self.uplinks.due(now)).min()
    }

    /// When a bind will have been left unanswered for too long.
    pub(crate) fn unanswered_at(&self, patience: Duration) -> Option<Instant> {
        self.binds.unanswered_at(patience)
    }

    /// Whether there is something to connect for.
    pub(crate) fn any_wanted(&self) -> bool {
        self.binds.any_wanted()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use longline_wire::{Limits, decode};
    use proptest::prelude::*;

    use super::*;

    /// Something that happens to a device.
    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        /// The application acknowledges what it was told, counted from the first.
        Ack(prop::sample::Index),
        Flush,
        /// The connection breaks, and the device comes back; whether to the same session.
        Reconnect(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..30_u64).prop_map(Step::Push),
            3 => any::<prop::sample::Index>().prop_map(Step::Ack),
            1 => Just(Step::Flush),
            1 => any::<bool>().prop_map(Step::Reconnect),
        ]
    }

    /// Connects, and answers what the device said to have.
    fn connect(device: &mut Device, resumed: bool, now: Instant) -> HashSet<u64> {
        device.disconnected(now);
        let hello = device.hello("room", 1, now);
        let welcome = client::Welcome { resume_token: vec![7], resumed, ..Default::default() };
        device.welcomed("room", &welcome);
        device.bound(client::Bound { result: BindResult::Ok.into(), ..Default::default() }, now);
        device.events.retain(|event| matches!(event, Event::Message(_)));
        hello.have.into_iter().flat_map(|ack| ack.ids).collect()
    }

    fn acked(out: &Outbox) -> Vec<u64> {
        let (mut bytes, mut ids) = (out.bytes(), Vec::new());
        while let Some((frame, used)) = decode(bytes, &Limits::FROM_DEVICE).unwrap() {
            ids.extend(frame.parse::<client::Ack>().unwrap().ids);
            bytes = &bytes[used..];
        }
        ids
    }

    proptest! {
        /// Whatever comes again and however connections break: each id is told once, only what the application has is
        /// acknowledged, a duplicate of that always is (D6), and a session is resumed with what was acknowledged in it (D8).
        #[test]
        fn told_once_and_acknowledged_only_when_safe(steps in proptest::collection::vec(step(), 0..200)) {
            let mut binds = Binds::default();
            let bind = binds.add(Address::new(1, "alice").unwrap(), String::new()).unwrap();
            let mut device = Device::new(Identity::new("d".into()), binds, AckMode::Explicit, Resumption::new(true));
            let (now, mut out) = (Instant::now(), Outbox::default());
            connect(&mut device, false, now);
            let (mut told, mut safe, mut in_session) = (Vec::new(), HashSet::new(), HashSet::new());
            for step in steps {
                match step {
                    Step::Push(id) => {
                        device.pushed(0, client::Push { id, ..Default::default() }, now);
                        if safe.contains(&id) {
                            in_session.insert(id);
                            let mut answer = Outbox::default();
                            device.flush_acks(&mut answer);
                            prop_assert!(acked(&answer).contains(&id));
                        }
                    }
                    Step::Ack(which) if !told.is_empty() => {
                        let id = told[which.index(told.len())];
                        safe.insert(id);
                        in_session.insert(id);
                        device.acknowledge(bind, MessageId(id), now);
                    }
                    Step::Ack(_) => {}
                    Step::Flush => device.flush_acks(&mut out),
                    Step::Reconnect(resumed) => {
                        prop_assert_eq!(&connect(&mut device, resumed, now), &in_session);
                        if !resumed {
                            in_session.clear();
                        }
                    }
                }
                for event in device.events.drain(..) {
                    let Event::Message(message) = event else { panic!("only messages: {event:?}") };
                    prop_assert!(!told.contains(&message.id.0), "{} was told twice", message.id);
                    told.push(message.id.0);
                }
                prop_assert!(acked(&out).iter().all(|id| safe.contains(id)));
            }
        }
    }
}
