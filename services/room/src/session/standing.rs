//! How a session's binds stand with the register.

use std::sync::Arc;

use longline_pb::client::{self, BindResult};
use longline_types::{Address, AddressKey, CloseReason, Device, Route, Stamp};

use super::bind::{Bind, Standing};
use super::ending::{Ending, refused};
use super::greeting::WantedBind;
use super::open::{Session, bind_id, route};
use super::turn::Turn;
use crate::link::{
    AssertOutcome, AssertRequest, BindId, BindOutcome, BindProof, BindRequest, Bound, PresenceChange,
    Refusal, TicketAndToken, ToCluster,
};

/// What the device is told then.
const DISPLACED: &str = "a newer connection has bound this user";

impl Session {
    /// Asks for a bind, or tells the device why it cannot be.
    pub(super) fn want(
        &mut self,
        wanted: Result<WantedBind, client::Bound>,
        ticket: Option<&Arc<[u8]>>,
        t: &mut Turn<'_>,
    ) {
        match wanted.and_then(|wanted| self.admit(wanted, t)) {
            Err(refused) => self.tell(refused, t),
            Ok(wanted) => {
                let serial = self.next_serial;
                self.next_serial = serial.wrapping_add(1);
                let bind = Bind::new(wanted.index, serial, wanted.address, wanted.seen_broadcast);
                t.env.counters.binds.add(1);
                t.ask(ToCluster::Bind(BindRequest {
                    bind: bind_id(&bind, t),
                    address: bind.address.clone(),
                    device: self.device,
                    proof: proof(wanted.token, ticket),
                }));
                self.binds.add(bind);
            }
        }
    }

    fn admit(&mut self, wanted: WantedBind, t: &Turn<'_>) -> Result<WantedBind, client::Bound> {
        let index = u32::from(wanted.index);
        let bad = |detail| Err(refused(index, BindResult::BadRequest, detail));
        if self.binds.is_full() || self.binds.by_index(index).is_some() {
            bad("this index is in use")
        } else if self.binds.by_address(&wanted.address).is_some() {
            bad("this session has bound this user already")
        } else if t.env.congested || t.env.draining.is_some() {
            Err(refused(index, BindResult::Unavailable, "the room takes no more binds now"))
        } else {
            Ok(wanted)
        }
    }

    /// Whether the bind is (still) of this session.
    pub(crate) fn has_bind(&mut self, id: BindId) -> bool {
        self.binds.by_serial(id.index, id.serial).is_some()
    }

    /// The answer to a bind has come.
    pub(crate) fn bind_answered(
        &mut self,
        id: BindId,
        outcome: BindOutcome,
        t: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return Ok(()) };
        match (bind.standing, outcome) {
            (
                Standing::Asking { displaced } | Standing::Renewing { displaced },
                BindOutcome::Bound(bound),
            ) => self.bound(id, bound, displaced, t),
            (Standing::Asking { .. }, BindOutcome::Refused(refusal)) => self.bind_refused(id, refusal, t),
            (Standing::Renewing { .. }, BindOutcome::Refused(refusal)) => {
                self.renewal_refused(id, refusal, t)
            }
            // Nobody asked; and what is held is not given up for it.
            (Standing::Held { .. } | Standing::Lost { .. }, _) => Ok(()),
        }
    }

    fn bound(&mut self, id: BindId, bound: Bound, displaced: Stamp, t: &mut Turn<'_>) -> Result<(), Ending> {
        let opened = self.opening.is_none();
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return Ok(()) };
        let first = matches!(bind.standing, Standing::Asking { .. });
        if !t.env.identity.is_some_and(|identity| identity.made(&bound.route)) {
            // Made under an earlier incarnation, which meanwhile has ended (R4).
            bind.standing = Standing::Renewing { displaced: Stamp::default() };
            let request = renewal(bind, self.device, t);
            t.ask(request);
            return Ok(());
        }
        bind.standing = Standing::Held { stamp: bound.route.stamp, epoch: t.env.epoch };
        if bound.route.stamp <= displaced {
            return self.end_bind(id.index, BindResult::Displaced, DISPLACED, t);
        }
        bind.failures = 0;
        bind.window = bound.window.max(1);
        bind.ack_timeout_ms = bound.ack_timeout_ms.max(1);
        bind.presence = bound.presence;
        t.env.queueings.note(bind.address.product, bound.queueing);
        // D1: every fresh bind loads, now that the register has answered.
        bind.mark_dirty();
        self.authenticated = true;
        if first {
            let announced = std::mem::replace(&mut bind.announced, bound.presence);
            let (index, window, address) = (id.index.into(), bind.window.into(), bind.address.clone());
            if bound.presence && !announced {
                self.announce(&address, PresenceChange::Online, t);
            }
            let result = BindResult::Ok.into();
            self.tell(client::Bound { index, result, window, ..client::Bound::default() }, t);
        }
        self.quicken_heartbeat(bound.max_heartbeat_s, opened, t);
        self.welcome_if_decided(t)
    }

    /// A product may want a shorter interval than was chosen. The device, which may have been silent for longer than that, has all of
    /// the new one from now on.
    fn quicken_heartbeat(&mut self, product_max_s: u32, opened: bool, t: &mut Turn<'_>) {
        let chosen = self.wish.choose(product_max_s, &t.env.config);
        if product_max_s > 0 && chosen < self.heartbeat_s {
            self.heartbeat_s = chosen;
            if opened {
                self.last_seen = t.now.ms;
                t.send(&client::Directive { what: Some(client::directive::What::HeartbeatS(chosen)) });
            }
        }
    }

    fn bind_refused(&mut self, id: BindId, refusal: Refusal, t: &mut Turn<'_>) -> Result<(), Ending> {
        if let Some(bind) = self.binds.remove(id.index) {
            self.let_go(bind, CloseReason::NoBind, t);
        }
        let mut bound = refused(id.index.into(), refusal.result, refusal.detail);
        if refusal.retry_after_ms > 0 {
            bound.retry_after_ms = refusal.retry_after_ms;
        }
        let unwelcome = self.opening.is_none() && self.binds.is_empty() && !self.authenticated;
        let last = unwelcome.then(|| Ending::without_bind(&bound).appointed(t.now, t.env));
        self.tell(bound, t);
        self.welcome_if_decided(t)?;
        last.map_or(Ok(()), Err)
    }

    /// A bind could not be made anew under the room's new incarnation (R4).
    fn renewal_refused(&mut self, id: BindId, refusal: Refusal, t: &mut Turn<'_>) -> Result<(), Ending> {
        if refusal.result != BindResult::Unavailable {
            return self.end_bind(id.index, refusal.result, &refusal.detail, t);
        }
        if let Some(bind) = self.binds.by_serial(id.index, id.serial) {
            bind.failures = bind.failures.saturating_add(1);
            let (first, longest) = (t.env.config.retry_ms, t.env.config.retry_max_ms);
            let wait = t.env.jitter.backoff(bind.failures, first, longest).max(refusal.retry_after_ms.into());
            bind.standing = Standing::Lost { retry_at: t.now.ms + wait };
        }
        Ok(())
    }

    /// The room has a new incarnation: every bind is made anew and is dirty (R4).
    pub(crate) fn renew(&mut self, t: &mut Turn<'_>) {
        for bind in self.binds.iter_mut() {
            match bind.standing {
                // Bound since then.
                Standing::Held { epoch, .. } if epoch == t.env.epoch => {}
                Standing::Held { .. } | Standing::Lost { .. } => {
                    bind.standing = Standing::Renewing { displaced: Stamp::default() };
                    bind.mark_dirty();
                    let request = renewal(bind, self.device, t);
                    t.ask(request);
                }
                // Its answer will tell under which incarnation it was made.
                Standing::Asking { .. } | Standing::Renewing { .. } => {}
            }
        }
    }

    /// Asks again for the binds whose renewal failed, when their time has come.
    pub(super) fn retry_renewals(&mut self, t: &mut Turn<'_>) {
        for bind in self.binds.iter_mut() {
            if matches!(bind.standing, Standing::Lost { retry_at } if retry_at <= t.now.ms) {
                bind.standing = Standing::Renewing { displaced: Stamp::default() };
                let request = renewal(bind, self.device, t);
                t.ask(request);
            }
        }
    }

    /// The register says that this route is not current any more (R5). Whether it was found here; if the session ends by it,
    /// it was.
    pub(crate) fn displace(
        &mut self,
        key: AddressKey,
        displaced_route: &Route,
        t: &mut Turn<'_>,
    ) -> Result<bool, Ending> {
        let stamp = displaced_route.stamp;
        let Some(bind) = self.binds.iter_mut().find(|b| b.address.key() == key) else { return Ok(false) };
        match &mut bind.standing {
            Standing::Held { stamp: held, .. } if *held <= stamp => {
                let index = bind.index;
                self.end_bind(index, BindResult::Displaced, DISPLACED, t)?;
                Ok(true)
            }
            // The answer to the bind may be on its way: it decides by its stamp.
            Standing::Asking { displaced } | Standing::Renewing { displaced } => {
                *displaced = stamp.max(*displaced);
                Ok(true)
            }
            Standing::Held { .. } | Standing::Lost { .. } => Ok(false),
        }
    }

    /// The business ends the bind. Whether it was found here; if the session ends by it, it was.
    pub(crate) fn kick(&mut self, address: &Address, detail: &str, t: &mut Turn<'_>) -> Result<bool, Ending> {
        let Some(index) = self.binds.by_address(address).map(|b| b.index) else { return Ok(false) };
        self.end_bind(index, BindResult::Kicked, detail, t)?;
        Ok(true)
    }

    /// The device ends the bind.
    pub(super) fn unbind(&mut self, index: u32, t: &mut Turn<'_>) {
        match self.binds.by_index(index).map(|b| b.index).and_then(|index| self.binds.remove(index)) {
            None => self.tell(refused(index, BindResult::BadRequest, "nothing is bound under this index"), t),
            Some(bind) => {
                self.let_go(bind, CloseReason::ClientGone, t);
                let result = BindResult::Unbound.into();
                self.tell(client::Bound { index, result, ..client::Bound::default() }, t);
            }
        }
    }

    /// Ends a bind against the device's will; the last one ends the session.
    fn end_bind(
        &mut self,
        index: u8,
        result: BindResult,
        detail: &str,
        t: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let told = refused(index.into(), result, detail);
        let ending = Ending { detail: told.detail.clone(), ..Ending::without_bind(&told) };
        if let Some(bind) = self.binds.remove(index) {
            self.let_go(bind, ending.reason, t);
        }
        if self.binds.is_empty() {
            return Err(ending);
        }
        self.tell(told, t);
        self.welcome_if_decided(t)
    }

    /// Asserts the routes of binds, for a refill (R2) or on the slow round (R6).
    pub(crate) fn assert_routes(
        &mut self,
        chosen: impl Fn(&Bind) -> bool,
        refill: Option<u64>,
        t: &mut Turn<'_>,
    ) -> bool {
        let mut any = false;
        for bind in self.binds.iter().filter(|b| chosen(b)) {
            if let Some(route) = route(bind, t) {
                any = true;
                t.ask(ToCluster::Assert(AssertRequest {
                    bind: bind_id(bind, t),
                    address: bind.address.clone(),
                    route,
                    device: self.device,
                    refill,
                }));
            }
        }
        any
    }

    /// The register has answered an assertion.
    pub(crate) fn assert_answered(
        &mut self,
        id: BindId,
        stamp: Stamp,
        outcome: AssertOutcome,
        t: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return Ok(()) };
        let current = bind.stamp(t.env.epoch) == Some(stamp);
        match outcome {
            AssertOutcome::Displaced if current => {
                self.end_bind(id.index, BindResult::Displaced, DISPLACED, t)
            }
            _ => Ok(()),
        }
    }
}

/// What entitles the device to a bind that it asks for.
fn proof(token: Box<str>, ticket: Option<&Arc<[u8]>>) -> BindProof {
    match ticket {
        None => BindProof::Token(token),
        Some(ticket) => BindProof::Ticket(Box::new(TicketAndToken { ticket: ticket.clone(), token })),
    }
}

/// Asks for a bind that was held under an earlier incarnation. The token was good when it was made.
fn renewal(bind: &Bind, device: Device, t: &Turn<'_>) -> ToCluster {
    ToCluster::Bind(BindRequest {
        bind: bind_id(bind, t),
        address: bind.address.clone(),
        device,
        proof: BindProof::Held,
    })
}
