//! A session: a device that has said who it is.

use longline_pb::client::{self, Network};
use longline_types::{Address, CloseReason, Device, Route, TimeMs};
use longline_wire::FrameType;

use super::bind::{Bind, Inbox, Standing};
use super::binds::Binds;
use super::budget::FrameBudget;
use super::ending::Ending;
use super::flight::Flight;
use super::greeting::Introduction;
use super::heartbeat::Wish;
use super::profile::Profile;
use super::turn::Turn;
use crate::link::{BindId, Guide, Identity, Inspection, PresenceChange, ToCluster, Way};
use crate::metrics::network_name;

/// A device that is sent away goes at a random moment within this time: the room asks them one after the other, and this only
/// parts those of one turn.
const GO_WITHIN_MS: u32 = 100;
/// Bytes of a field of DIRECTIVE beside its value, at most.
const FIELD: usize = 8;

/// The state of one session, without I/O. Its events are in the modules beside this one:
/// [`frames`](super::frames) from the device, [`standing`](super::standing) with the register, [`pushing`](super::pushing) and
/// [`loading`](super::loading) of messages, [`timing`](super::timing).
#[expect(clippy::box_collection, reason = "8 bytes in each session instead of 24, and hardly ever there")]
pub(crate) struct Session {
    pub(super) device: Device,
    pub(super) profile: Profile,
    pub(super) wish: Wish,
    pub(super) binds: Binds,
    /// Until WELCOME is sent.
    pub(super) opening: Option<Box<Opening>>,
    pub(super) uplinks: Option<Box<Vec<WaitingUplink>>>,
    pub(super) budget: FrameBudget,
    pub(super) connected_at_ms: TimeMs,
    pub(super) last_seen: u64,
    /// Next slow round (D2, R6).
    pub(super) check_at: u64,
    pub(super) heartbeat_s: u32,
    pub(super) next_serial: u16,
    /// One of its binds has stood.
    pub(super) authenticated: bool,
    /// How often it was resumed.
    pub(super) resumes: u8,
}

/// What WELCOME will say.
pub(super) struct Opening {
    pub(super) deadline: u64,
    pub(super) decided: Vec<client::Bound>,
    pub(super) resumed: bool,
}

/// An uplink that the cluster has not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WaitingUplink {
    pub(super) sequence: u64,
    pub(super) bytes: u32,
}

impl Session {
    /// Begins the session and asks for its binds.
    pub(crate) fn open(hello: Introduction, t: &mut Turn<'_>) -> Result<Session, Ending> {
        let heartbeat_s = hello.wish.choose(0, &t.env.config);
        let mut session = Session {
            device: hello.device,
            profile: hello.profile.sharing(&mut t.env.names),
            wish: hello.wish,
            binds: Binds::default(),
            opening: Some(Box::new(Opening {
                deadline: t.now.ms + u64::from(t.env.config.welcome_wait_ms),
                decided: Vec::new(),
                resumed: false,
            })),
            uplinks: None,
            budget: FrameBudget::default(),
            connected_at_ms: t.now.wall_ms,
            last_seen: t.now.ms,
            check_at: t.now.ms + t.env.jitter.period(u64::from(t.env.config.check_s) * 1000),
            heartbeat_s,
            next_serial: 0,
            authenticated: false,
            resumes: 0,
        };
        for wanted in hello.binds {
            session.want(wanted, hello.ticket.as_ref(), t);
        }
        session.welcome_if_decided(t)?;
        Ok(session)
    }

    /// The device has had its WELCOME.
    pub(crate) fn is_welcomed(&self) -> bool {
        self.opening.is_none()
    }

    /// Where the device says it is.
    pub(crate) fn network(&self) -> Network {
        self.wish.network
    }

    /// What the device says it runs.
    pub(crate) fn sdk(&self) -> &str {
        self.profile.sdk()
    }

    /// Sends WELCOME once every bind of HELLO is decided.
    pub(super) fn welcome_if_decided(&mut self, t: &mut Turn<'_>) -> Result<(), Ending> {
        let open = self.binds.iter().any(|b| matches!(b.standing, Standing::Asking { .. }));
        if self.opening.is_some() && !open { self.welcome(t) } else { Ok(()) }
    }

    /// Sends WELCOME with what is decided. The session ends if that is everything and nothing stands.
    pub(super) fn welcome(&mut self, t: &mut Turn<'_>) -> Result<(), Ending> {
        let Some(opening) = self.opening.take() else { return Ok(()) };
        let last_refused = opening.decided.last().cloned();
        t.send(&client::Welcome {
            session: t.id.0,
            resume_token: self.resume_token(t),
            heartbeat_s: self.heartbeat_s,
            resumed: opening.resumed,
            server_time_ms: t.now.wall_ms,
            binds: opening.decided,
        });
        match last_refused {
            Some(refused) if self.binds.is_empty() => {
                Err(Ending::without_bind(&refused).appointed(t.now, t.env))
            }
            _ => Ok(()),
        }
    }

    /// Tells the device how a bind stands: in WELCOME, or after it by BOUND.
    pub(super) fn tell(&mut self, bound: client::Bound, t: &mut Turn<'_>) {
        match &mut self.opening {
            Some(opening) => opening.decided.push(bound),
            None => t.send(&bound),
        }
    }

    /// Lets everything go that others hold for this session.
    pub(crate) fn finish(mut self, reason: CloseReason, t: &mut Turn<'_>) {
        for bind in self.binds.take() {
            self.let_go(bind, reason, t);
        }
        let waiting: u64 = self.uplinks.iter().flat_map(|u| u.iter()).map(|u| u64::from(u.bytes)).sum();
        t.env.uplink_bytes = t.env.uplink_bytes.saturating_sub(waiting);
    }

    /// What is left to do for a bind that is no longer of the session: the register's route, the business, the load under way.
    /// A displaced route is taken back too: it is compared, and an assertion of it may still be on its way.
    pub(super) fn let_go(&self, bind: Bind, reason: CloseReason, t: &mut Turn<'_>) {
        if let Some(route) = route(&bind, t) {
            t.ask(ToCluster::Unbind { address: bind.address.clone(), route });
        }
        if bind.announced {
            self.announce(&bind.address, PresenceChange::Offline(reason), t);
        }
        if let Inbox::Loading { .. } = bind.inbox {
            t.env.loads.forgotten(1);
        }
        t.env.counters.binds.sub(1);
    }

    pub(super) fn announce(&self, address: &Address, change: PresenceChange, t: &mut Turn<'_>) {
        t.ask(ToCluster::Presence {
            address: address.clone(),
            device: self.profile.device.clone(),
            session: t.id,
            at_ms: t.now.wall_ms,
            change,
        });
    }

    /// What is known of the address; none if it is not bound here. Peer, transport and state are for the shard to fill in.
    pub(crate) fn inspect(&mut self, address: &Address, t: &Turn<'_>) -> Option<Inspection> {
        let config = &t.env.config;
        let frames_left = self.budget.left(t.now.ms, config.frames_per_second, config.frame_burst);
        let binds = self.binds.len() as u32;
        let bind = self.binds.by_address(address)?;
        Some(Inspection {
            transport: "",
            state: "",
            network: network_name(self.wish.network),
            binds,
            stalled: bind.flight().is_some_and(Flight::is_stalled),
            unconfirmed: bind.flight().map_or(0, Flight::unconfirmed) as u32,
            unwritten_bytes: t.output.len() as u64,
            frames_left,
            connected_at_ms: self.connected_at_ms,
            parked: t.parked,
            peer: String::new(),
            device: self.profile.device.to_string(),
            sdk: self.profile.sdk().to_owned(),
            platform: self.profile.platform().to_owned(),
            heartbeat_s: self.heartbeat_s,
            dirty: matches!(bind.inbox, Inbox::Dirty { .. } | Inbox::Loading { again: true, .. }),
            loading: matches!(bind.inbox, Inbox::Loading { .. }),
            window: bind.window.into(),
            in_flight: bind.flight().map_or_else(Vec::new, |f| f.in_flight().collect()),
            last_seen_ms: t.now.wall_ms.saturating_sub(t.now.ms - self.last_seen.min(t.now.ms)),
        })
    }

    /// Asks the device to go elsewhere. One that waits for its WELCOME gets it first.
    pub(crate) fn send_away(&mut self, guide: &dyn Guide, t: &mut Turn<'_>) -> Result<(), Ending> {
        self.welcome(t)?;
        let held: Vec<&Address> = self.binds.iter().filter(|b| !b.is_new()).map(|b| &b.address).collect();
        let Way { mut endpoints, ticket } = guide.way(self.device, &held);
        // What has no place in the frame is left out; two of the longest names of rooms always have one.
        let length = |endpoints: &[String]| endpoints.iter().map(|e| e.len() + FIELD).sum::<usize>();
        while ticket.len() + length(&endpoints) + 2 * FIELD > FrameType::Directive.limit() {
            if endpoints.pop().is_none() {
                break;
            }
        }
        let reconnect = client::Reconnect { endpoints, within_ms: GO_WITHIN_MS, ticket };
        t.send(&client::Directive { what: Some(client::directive::What::Reconnect(reconnect)) });
        t.env.counters.sent_away.add(1);
        Ok(())
    }

    /// Whether nothing is under way that a device or the cluster would have to repeat if the session ended now: a message that the
    /// device may yet acknowledge, an acknowledgement that the saver has not confirmed, an uplink without its answer.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.uplinks.is_none() && self.binds.iter().filter_map(|b| b.flight()).all(Flight::is_at_rest)
    }
}

/// The bind's name in questions.
pub(super) fn bind_id(bind: &Bind, t: &Turn<'_>) -> BindId {
    BindId { session: t.id, index: bind.index, serial: bind.serial }
}

/// The bind's route, if the register has it.
pub(super) fn route(bind: &Bind, t: &Turn<'_>) -> Option<Route> {
    let Identity { node, incarnation } = t.env.identity?;
    Some(Route { stamp: bind.stamp(t.env.epoch)?, node, incarnation, session: t.id })
}
