//! What the backend knows: users, inboxes, routes, and what is to be looked up, delivered and reported. No I/O.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use longline_load_raw::{Delivery, Order};
use longline_pb::room::{DeliverReply, DeliverRequest, DeliverResult};
use longline_pb::saver::{AckReply, AckRequest, CheckReply, CheckRequest, LoadReply, LoadRequest};
use longline_pb::types::{Address, Class, Message, Route};
use longline_types::{AddressKey, Error, ProductId, TimeMs, limits};
use tokio::sync::Notify;

use crate::broadcasts::Broadcasts;
use crate::inbox::Waiting;
use crate::injectors::{Injectors, Serial};
use crate::users::{User, UserId, Users, Whereabouts};

/// Messages held with which no more are taken from injectors: waiting, and transient ones on their way.
const MOST: usize = 256 * 1024;
/// The same for the bytes of their payloads.
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Life of a message. Nothing expires here; a room hides what has.
const TTL_MS: TimeMs = 7 * 24 * 60 * 60 * 1000;

/// Everything that is known.
pub(crate) struct Post {
    product: u32,
    users: Users,
    pub(crate) injectors: Injectors,
    broadcasts: Broadcasts,
    to_look_up: Vec<UserId>,
    to_deliver: VecDeque<Item>,
    held: usize,
    held_bytes: usize,
}

/// A message on its way to a room.
pub(crate) struct Item {
    user: UserId,
    message: Message,
    from: Serial,
    /// A room has refused it once.
    is_second: bool,
}

/// Messages for one room, in their order, each with its request.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) items: Vec<Item>,
    pub(crate) requests: Vec<DeliverRequest>,
}

impl Post {
    /// Of a product.
    pub(crate) fn new(product: u32) -> Post {
        Post {
            product,
            users: Users::default(),
            injectors: Injectors::default(),
            broadcasts: Broadcasts::default(),
            to_look_up: Vec::new(),
            to_deliver: VecDeque::new(),
            held: 0,
            held_bytes: 0,
        }
    }

    /// Takes an injector in; `wake` is told when there is something to be written to it. None if there are too many.
    pub(crate) fn connect(&mut self, wake: Arc<Notify>) -> Option<Serial> {
        self.injectors.connect(wake)
    }

    /// The injector has gone. Its messages stay.
    pub(crate) fn disconnect(&mut self, serial: Serial) {
        if let Some(space) = self.injectors.disconnect(serial).and_then(|injector| injector.space) {
            self.users.leave(space);
        }
    }

    /// Does what an injector asks for, in its order. Returns the broadcasts that are to be walked.
    ///
    /// # Errors
    /// If too many prefixes are in use.
    pub(crate) fn follow(
        &mut self,
        from: Serial,
        orders: impl IntoIterator<Item = Order>,
        now_ms: TimeMs,
    ) -> Result<Vec<Message>, Error> {
        let mut broadcasts = Vec::new();
        for order in orders {
            match order {
                Order::Deliver(delivery) => self.deliver(from, delivery, now_ms),
                Order::Broadcast { id, payload } => {
                    broadcasts.push(self.broadcasts.add(id, payload, from, now_ms, now_ms + TTL_MS));
                }
                Order::Users { prefix, transient } => self.name_users(from, &prefix, transient)?,
            }
        }
        Ok(broadcasts)
    }

    /// Whether injectors are to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.held >= MOST || self.held_bytes >= MOST_BYTES
    }

    /// Whether something is to be looked up or delivered.
    pub(crate) fn has_work(&self) -> bool {
        !self.to_look_up.is_empty() || !self.to_deliver.is_empty()
    }

    /// The users whose routes are to be asked for; each is answered by [`Post::found`].
    pub(crate) fn take_lookups(&mut self) -> Vec<(UserId, AddressKey)> {
        let product = ProductId(self.product);
        let asked = std::mem::take(&mut self.to_look_up).into_iter();
        asked
            .filter_map(|user| Some((user, AddressKey::of(product, &self.users.get_mut(user)?.name))))
            .collect()
    }

    /// The register's answer: a route, or that there is none, or that nobody knows.
    pub(crate) fn found(&mut self, user: UserId, route: Option<Route>) {
        let Some(known) = self.users.get_mut(user) else { return };
        let now = route.map_or(Whereabouts::Unknown, Whereabouts::At);
        let Whereabouts::Asked(items) = std::mem::replace(&mut known.whereabouts, now) else { return };
        match route {
            Some(_) => self.to_deliver.extend(items),
            // A durable message comes with the load of the bind that is not there yet.
            None => items.into_iter().for_each(|item| self.drop_transient(item)),
        }
    }

    /// What is to be delivered, as much as fits into a batch, by room. To be called until nothing is left; each group is answered by
    /// [`Post::delivered`].
    pub(crate) fn take_deliveries(&mut self) -> BTreeMap<u32, Group> {
        let mut groups = BTreeMap::<u32, Group>::new();
        for _ in 0..limits::BATCH_ITEMS {
            let Some(item) = self.to_deliver.pop_front() else { break };
            let Some(user) = self.users.get_mut(item.user) else { continue };
            let Whereabouts::At(route) = user.whereabouts else {
                self.send(item);
                continue;
            };
            let group = groups.entry(route.node).or_default();
            group.requests.push(DeliverRequest {
                address: Some(Address { product: self.product, user: user.name.clone() }),
                route: Some(route),
                message: Some(item.message.clone()),
            });
            group.items.push(item);
        }
        groups
    }

    /// A room's answers. What it does not have is looked up anew and tried once more, as a center does.
    pub(crate) fn delivered(&mut self, items: Vec<Item>, replies: Vec<Result<DeliverReply, Error>>) {
        for (item, reply) in items.into_iter().zip(replies) {
            match reply.map(|reply| reply.result()) {
                Ok(DeliverResult::Pushed) => self.pushed(item),
                Ok(DeliverResult::Deferred | DeliverResult::Overloaded | DeliverResult::Dropped) => {
                    self.drop_transient(item);
                }
                Ok(DeliverResult::NotHere | DeliverResult::Unspecified) | Err(_) if item.is_second => {
                    self.drop_transient(item);
                }
                Ok(DeliverResult::NotHere | DeliverResult::Unspecified) | Err(_) => {
                    if let Some(user) = self.users.get_mut(item.user)
                        && let Whereabouts::At(_) = user.whereabouts
                    {
                        user.whereabouts = Whereabouts::Unknown;
                    }
                    self.send(Item { is_second: true, ..item });
                }
            }
        }
    }

    /// The lowest waiting messages, then the broadcasts.
    pub(crate) fn load(&mut self, request: &LoadRequest) -> LoadReply {
        let failed = |error: Error| LoadReply { error: Some(error.into()), ..LoadReply::default() };
        let user = match user(&mut self.users, self.product, request.address.as_ref()) {
            Ok((_, user)) => user,
            Err(error) => return failed(error),
        };
        let mut broadcasts: Vec<Message> = Vec::new();
        broadcasts.extend(self.broadcasts.waiting(user, request.seen_broadcast).cloned());
        let mut reply = LoadReply::default();
        let mut bytes = 0;
        for message in user.inbox.messages().chain(&broadcasts) {
            if request.except.contains(&message.id) {
                continue;
            }
            bytes += message.payload.len();
            let fits = reply.messages.len() < request.limit as usize && bytes <= request.max_bytes as usize;
            if !fits && !reply.messages.is_empty() {
                reply.more = true;
                break;
            }
            reply.messages.push(message.clone());
        }
        reply
    }

    /// Whether more waits than is in flight.
    pub(crate) fn check(&mut self, request: &CheckRequest) -> CheckReply {
        match user(&mut self.users, self.product, request.address.as_ref()) {
            Ok((_, user)) => {
                // Who has never loaded has no broadcasts, and a check is no first sight.
                let broadcasts =
                    if user.floor.is_some() { self.broadcasts.waiting(user, 0).count() } else { 0 };
                CheckReply {
                    waiting: user.inbox.len() + broadcasts > request.in_flight as usize,
                    error: None,
                }
            }
            Err(error) => CheckReply { waiting: false, error: Some(error.into()) },
        }
    }

    /// A device has acknowledged a message: it is gone, and its sender is told.
    pub(crate) fn ack(&mut self, request: &AckRequest) -> AckReply {
        let (id, user) = match user(&mut self.users, self.product, request.address.as_ref()) {
            Ok(found) => found,
            Err(error) => return AckReply { ended: false, error: Some(error.into()) },
        };
        let from = if request.broadcast_seq > 0 {
            self.broadcasts.ack(user, request.id, request.broadcast_seq)
        } else {
            user.inbox.take(request.id).map(|waiting| {
                self.held -= 1;
                self.held_bytes -= waiting.message.payload.len();
                waiting.from
            })
        };
        if let Some(from) = from {
            self.injectors.acked(from, id.number, request.id);
        }
        AckReply { ended: from.is_some(), error: None }
    }

    fn name_users(&mut self, from: Serial, prefix: &str, transient: bool) -> Result<(), Error> {
        let Some(injector) = self.injectors.get_mut(from) else { return Ok(()) };
        injector.transient = transient;
        let before = injector.space.replace(self.users.enter(prefix)?);
        before.into_iter().for_each(|space| self.users.leave(space));
        Ok(())
    }

    /// Into the inbox first, then on its way (D1).
    fn deliver(&mut self, from: Serial, delivery: Delivery, now_ms: TimeMs) {
        let Some(injector) = self.injectors.get_mut(from) else { return };
        let transient = injector.transient;
        let user = injector.space.and_then(|space| self.users.numbered(space, delivery.user));
        let Some((user, known)) = user.and_then(|user| Some((user, self.users.get_mut(user)?))) else {
            // Nobody has this name.
            return self.injectors.absent(from);
        };
        let Delivery { id, payload, .. } = delivery;
        let (class, bytes) = (if transient { Class::Transient } else { Class::Durable }, payload.len());
        let message = message(id, payload, class, now_ms);
        if transient || known.inbox.put(Waiting { message: message.clone(), from }) {
            self.held += 1;
            self.held_bytes += bytes;
        }
        self.send(Item { user, message, from, is_second: false });
    }

    /// To the room if the route is known, else it waits until it is.
    fn send(&mut self, item: Item) {
        let Some(user) = self.users.get_mut(item.user) else { return };
        match &mut user.whereabouts {
            Whereabouts::At(_) => self.to_deliver.push_back(item),
            Whereabouts::Asked(waiting) => waiting.push(item),
            Whereabouts::Unknown => {
                self.to_look_up.push(item.user);
                user.whereabouts = Whereabouts::Asked(vec![item]);
            }
        }
    }

    /// Handed to the session: all that is ever known of a transient message.
    fn pushed(&mut self, item: Item) {
        if self.release_transient(&item) {
            self.injectors.acked(item.from, item.user.number, item.message.id);
        }
    }

    /// A durable one waits in its inbox; the room loads it, now or after its next check (D2).
    fn drop_transient(&mut self, item: Item) {
        if self.release_transient(&item) {
            self.injectors.absent(item.from);
        }
    }

    fn release_transient(&mut self, item: &Item) -> bool {
        let is_transient = item.message.class() == Class::Transient;
        if is_transient {
            self.held -= 1;
            self.held_bytes -= item.message.payload.len();
        }
        is_transient
    }
}

fn message(id: u64, payload: Bytes, class: Class, now_ms: TimeMs) -> Message {
    let (sent_at_ms, expires_at_ms) = (now_ms, now_ms + TTL_MS);
    Message {
        id,
        payload,
        sent_at_ms,
        expires_at_ms,
        class: class.into(),
        broadcast_seq: 0,
        redelivered: false,
    }
}

/// The user that a room asks about.
fn user<'a>(
    users: &'a mut Users,
    product: u32,
    address: Option<&Address>,
) -> Result<(UserId, &'a mut User), Error> {
    let address = address.filter(|address| address.product == product);
    let address =
        address.ok_or_else(|| Error::invalid(format!("the address is none of product {product}")))?;
    let id = users.named(&address.user)?;
    users.get_mut(id).map(|user| (id, user)).ok_or_else(|| Error::internal("the prefix was there above"))
}

#[cfg(test)]
mod tests;
