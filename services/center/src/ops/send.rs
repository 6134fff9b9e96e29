//! Sending: ids, put, and the hint. In three steps, so that a stream of sends can be put at once and hinted in order (D7).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::future::join_all;
use longline_pb::saver::{PutReply, PutRequest};
use longline_pb::types::{self, Message};
use longline_products::Product;
use longline_types::{
    Address, Class, Durability, Error, ErrorCode, MessageId, MessageState, Role, TimeMs, User, limits, now_ms,
};
use tokio::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

use super::Ops;
use crate::Failure;
use crate::hints::Hint;

/// One message for one or many users, as the business asked.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) users: Vec<String>,
    pub(crate) payload: Bytes,
    pub(crate) class: Class,
    /// Seconds; none: the product's default.
    pub(crate) ttl_s: Option<u32>,
    /// Empty: none.
    pub(crate) collapse_key: String,
    /// Empty: none.
    pub(crate) idempotency_key: String,
    /// None: the product's.
    pub(crate) durability: Option<Durability>,
}

/// What became of one user's message.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) user: User,
    pub(crate) result: Result<MessageId, Failure>,
}

/// A send that was found right and has its ids; nothing is stored yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    class: Class,
    ttl_ms: u64,
    addresses: Vec<Address>,
    /// Parallel to the addresses.
    puts: Vec<PutRequest>,
}

/// A send that was stored, as far as it could be; the devices know nothing yet.
#[derive(Debug)]
pub(crate) struct Stored {
    sent: Vec<Sent>,
    hints: Vec<Hint>,
}

/// A saver whose database is away for a moment is asked again after this.
const PUT_PAUSE: Duration = Duration::from_millis(100);

impl Ops {
    /// Checks, stores and hints. Fails as a whole if no user's message was accepted. Goes on to its end if the caller goes
    /// away meanwhile, so that what was stored is hinted.
    pub(crate) async fn send(&self, product: &Product, send: Send) -> Result<Vec<Sent>, Failure> {
        let prepared = self.prepare(product, send)?;
        let ops = self.clone();
        let sending = self.shared.tasks.spawn(async move {
            let stored = ops.store(prepared).await;
            ops.hint(stored)
        });
        sending.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Checks a send and gives it its ids. Ids of one center rise in the order of these calls.
    pub(crate) fn prepare(&self, product: &Product, send: Send) -> Result<Prepared, Failure> {
        let addresses = check(product, &send)?;
        let ttl_ms = u64::from(ttl_s(product, send.ttl_s)?) * 1000;
        let sent_at_ms = now_ms();
        let digest = digest(&send);
        let durability = send.durability.unwrap_or(product.durability);
        let put = |address: &Address| {
            let message = Message {
                id: self.shared.ids.make(sent_at_ms)?.0,
                payload: send.payload.clone(),
                sent_at_ms,
                expires_at_ms: sent_at_ms + ttl_ms,
                class: types::Class::from(send.class).into(),
                ..Message::default()
            };
            Ok(PutRequest {
                address: Some(address.into()),
                message: Some(message),
                idempotency_key: send.idempotency_key.clone(),
                digest: digest.clone(),
                collapse_key: send.collapse_key.clone(),
                durability: types::Durability::from(durability).into(),
                inbox_limit: product.inbox_limit,
            })
        };
        let puts = addresses.iter().map(put).collect::<Result<_, Failure>>()?;
        Ok(Prepared { class: send.class, ttl_ms, addresses, puts })
    }

    /// [`Ops::store`] in a task of its own, which goes on whoever waits for it.
    pub(crate) fn spawn_store(
        &self,
        prepared: Prepared,
    ) -> impl Future<Output = Result<Stored, Failure>> + use<> {
        let ops = self.clone();
        let storing = self.shared.tasks.spawn(async move { ops.store(prepared).await });
        async move { storing.await.map_err(|_| stopping()) }
    }

    /// Stores a durable send, again with the same ids until the deadline (I2). A transient one is never stored.
    pub(crate) async fn store(&self, prepared: Prepared) -> Stored {
        let replies = match prepared.class {
            Class::Durable => {
                let _timer = self.shared.metrics.put_seconds.start_timer();
                self.put(&prepared).await
            }
            Class::Transient => prepared.puts.iter().map(|put| Ok(transient(put))).collect(),
        };
        self.stored(prepared, replies)
    }

    /// Sends the hints of a stored send on their way and tells what was accepted.
    pub(crate) fn hint(&self, stored: Stored) -> Result<Vec<Sent>, Failure> {
        self.shared.hints.offer(stored.hints);
        let refused = |sent: &Sent| sent.result.as_ref().err().cloned();
        match stored.sent.iter().map(refused).collect::<Option<Vec<_>>>() {
            Some(failures) => {
                Err(failures.into_iter().next().unwrap_or_else(|| Failure::invalid("nothing was sent")))
            }
            None => Ok(stored.sent),
        }
    }

    /// Puts everything, in a group per saver; what no saver could store for now is tried until the deadline.
    async fn put(&self, prepared: &Prepared) -> Vec<Result<PutReply, Error>> {
        let until = Instant::now() + self.shared.put_timeout;
        let mut replies: Vec<Result<PutReply, Error>> =
            prepared.puts.iter().map(|_| Err(Error::unavailable("not stored"))).collect();
        let mut open: Vec<usize> = (0..prepared.puts.len()).collect();
        loop {
            for (index, reply) in self.put_once(prepared, &open, until).await {
                replies[index] = reply;
            }
            open.retain(|&index| matches!(&replies[index], Err(e) if e.code == ErrorCode::Unavailable));
            // A try that has hardly any time left would only hide why the others failed.
            if open.is_empty() || Instant::now() + 2 * PUT_PAUSE >= until {
                return replies;
            }
            tokio::time::sleep(PUT_PAUSE).await;
        }
    }

    async fn put_once(
        &self,
        prepared: &Prepared,
        open: &[usize],
        until: Instant,
    ) -> Vec<(usize, Result<PutReply, Error>)> {
        let view = self.shared.peers.view();
        let mut by_saver: BTreeMap<Option<u32>, (u64, Vec<usize>)> = BTreeMap::new();
        for &index in open {
            let key = prepared.addresses[index].key().high;
            let saver = view.pick(Role::Saver, key).map(|node| node.number);
            by_saver.entry(saver).or_insert_with(|| (key, Vec::new())).1.push(index);
        }
        let groups = by_saver.into_values().map(|(key, indexes)| async move {
            let group = indexes.iter().map(|&index| prepared.puts[index].clone()).collect();
            let left = until.saturating_duration_since(Instant::now());
            let replies = self.shared.put.group_any(key, group, left).await;
            indexes.into_iter().zip(replies.into_iter().map(checked)).collect::<Vec<_>>()
        });
        join_all(groups).await.into_iter().flatten().collect()
    }

    fn stored(&self, prepared: Prepared, replies: Vec<Result<PutReply, Error>>) -> Stored {
        let mut stored = Stored { sent: Vec::new(), hints: Vec::new() };
        for ((address, put), reply) in prepared.addresses.into_iter().zip(prepared.puts).zip(replies) {
            let user = address.user.clone();
            let result = match reply {
                Ok(reply) => {
                    // A put that was tried again finds its own first try.
                    let own = put.message.as_ref().is_some_and(|message| message.id == reply.id);
                    if !reply.repeated_request || own {
                        self.shared.metrics.accepted.with_label_values(&[class_name(prepared.class)]).inc();
                    }
                    if reply.state() == types::MessageState::Waiting {
                        let message = stored_message(put, &reply, prepared.ttl_ms);
                        stored.hints.extend(message.map(|message| Hint::new(address, message)));
                    }
                    Ok(MessageId(reply.id))
                }
                Err(error) => {
                    self.shared.metrics.refused.with_label_values(&[error.code.name()]).inc();
                    Err(put_failure(error))
                }
            };
            stored.sent.push(Sent { user, result });
        }
        stored
    }
}

/// The class's name in the API and in metrics.
pub(crate) fn class_name(class: Class) -> &'static str {
    match class {
        Class::Durable => "durable",
        Class::Transient => "transient",
    }
}

fn check(product: &Product, send: &Send) -> Result<Vec<Address>, Failure> {
    match send.users.len() {
        0 => return Err(Failure::invalid("name at least one user")),
        n if n > limits::USERS_PER_SEND => {
            return Err(Failure::invalid(format!("a message goes to at most 1000 users, this one to {n}")));
        }
        _ => {}
    }
    check_payload(&send.payload)?;
    check_key("the idempotency key", &send.idempotency_key, limits::IDEMPOTENCY_KEY)?;
    check_key("collapse_key", &send.collapse_key, limits::COLLAPSE_KEY)?;
    if send.class == Class::Transient {
        check_transient(send)?;
    }
    let mut seen = HashSet::new();
    let address = |user: &String| {
        let user = User::new(user)?;
        if !seen.insert(user.clone()) {
            return Err(Failure::invalid(format!("user {:?} is named twice", user.as_str())));
        }
        Ok(Address { product: product.id, user })
    };
    send.users.iter().map(address).collect()
}

/// A transient message is never stored, so nothing that speaks of the store can mean anything for it.
fn check_transient(send: &Send) -> Result<(), Failure> {
    let meaningless = [
        ("an idempotency key", !send.idempotency_key.is_empty()),
        ("a collapse_key", !send.collapse_key.is_empty()),
        ("a durability", send.durability.is_some()),
    ];
    match meaningless.into_iter().find(|(_, given)| *given) {
        Some((what, _)) => Err(Failure::invalid(format!(
            "a transient message is never stored and takes no {}; leave it out or use class durable",
            what.split_once(' ').map_or(what, |(_, name)| name)
        ))),
        None => Ok(()),
    }
}

/// Refuses a payload that is too long.
pub(super) fn check_payload(payload: &Bytes) -> Result<(), Failure> {
    if payload.len() > limits::PAYLOAD {
        let message =
            format!("a payload has at most {} bytes, this one has {}", limits::PAYLOAD, payload.len());
        return Err(Failure::new(ErrorCode::InvalidArgument, "payload_too_large", message));
    }
    Ok(())
}

/// Refuses a key that is too long or has control characters. An empty one stands for none.
pub(super) fn check_key(what: &str, key: &str, limit: usize) -> Result<(), Failure> {
    if key.len() > limit {
        return Err(Failure::invalid(format!(
            "{what} has at most {limit} bytes, this one has {}",
            key.len()
        )));
    }
    if key.chars().any(char::is_control) {
        return Err(Failure::invalid(format!("{what} has no control characters")));
    }
    Ok(())
}

/// The time to live in seconds: as asked, within the product's limit, or its default.
pub(super) fn ttl_s(product: &Product, asked: Option<u32>) -> Result<u32, Failure> {
    let longest = seconds(product.max_ttl);
    match asked {
        None => Ok(seconds(product.default_ttl)),
        Some(0) => Err(Failure::invalid("ttl_seconds is at least 1; leave it out for the product's default")),
        Some(ttl) if ttl > longest => {
            Err(Failure::invalid(format!("ttl_seconds is at most {longest} for this product, not {ttl}")))
        }
        Some(ttl) => Ok(ttl),
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// 16 bytes over what was asked for one user, the user and the idempotency key apart (S1): a repeat for some of the users is
/// the same request for each of them.
fn digest(send: &Send) -> Vec<u8> {
    let mut hash = Xxh3::new();
    let durability = match send.durability {
        None => 0,
        Some(Durability::Synced) => 1,
        Some(Durability::Fast) => 2,
    };
    hash.update(&[1, durability]);
    hash.update(&send.ttl_s.unwrap_or(0).to_le_bytes());
    hash.update(&(send.collapse_key.len() as u64).to_le_bytes());
    hash.update(send.collapse_key.as_bytes());
    hash.update(&send.payload);
    hash.digest128().to_le_bytes().to_vec()
}

/// An item's own error counts like the call's.
fn checked(reply: Result<PutReply, Error>) -> Result<PutReply, Error> {
    match reply {
        Ok(PutReply { error: Some(error), .. }) => Err(error.into()),
        other => other,
    }
}

fn transient(put: &PutRequest) -> PutReply {
    PutReply {
        id: put.message.as_ref().map_or(0, |m| m.id),
        state: types::MessageState::from(MessageState::Waiting).into(),
        ..PutReply::default()
    }
}

/// The message as it is in the store. A repeat finds the first try's, whose times follow from its id.
fn stored_message(put: PutRequest, reply: &PutReply, ttl_ms: u64) -> Option<Message> {
    let message = put.message?;
    if reply.id == message.id {
        return Some(message);
    }
    let sent_at_ms: TimeMs = MessageId(reply.id).time_ms();
    Some(Message { id: reply.id, sent_at_ms, expires_at_ms: sent_at_ms + ttl_ms, ..message })
}

/// The runtime has ended the task.
fn stopping() -> Failure {
    Error::new(ErrorCode::DeadlineExceeded, "the center is stopping; whether it was done is not known").into()
}

fn put_failure(error: Error) -> Failure {
    match error.code {
        ErrorCode::Conflict => Failure::new(error.code, "idempotency_conflict", error.message),
        // What a saver refuses for these reasons is no fault of the business's.
        ErrorCode::WrongNode | ErrorCode::Refilling => Error::unavailable(error.message).into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send() -> Send {
        Send {
            users: vec!["alice".into()],
            payload: Bytes::from_static(b"x"),
            class: Class::Durable,
            ttl_s: None,
            collapse_key: String::new(),
            idempotency_key: "k".into(),
            durability: None,
        }
    }

    #[test]
    fn the_digest_covers_what_was_asked_but_not_for_whom_s1() {
        let base = digest(&send());
        assert_eq!(base.len(), 16);
        let same = Send { users: vec!["bob".into()], idempotency_key: "other".into(), ..send() };
        assert_eq!(digest(&same), base);
        let others = [
            Send { payload: Bytes::from_static(b"y"), ..send() },
            Send { ttl_s: Some(60), ..send() },
            Send { collapse_key: "c".into(), ..send() },
            Send { collapse_key: "x".into(), payload: Bytes::new(), ..send() },
            Send { durability: Some(Durability::Synced), ..send() },
            Send { durability: Some(Durability::Fast), ..send() },
        ];
        for other in &others {
            assert_ne!(digest(other), base, "{other:?}");
        }
    }

    #[test]
    fn a_repeat_is_hinted_with_the_first_trys_id_and_times_s1() {
        let message =
            Message { id: 500 << 22, sent_at_ms: 9_000, expires_at_ms: 10_000, ..Message::default() };
        let put = PutRequest { message: Some(message.clone()), ..PutRequest::default() };
        let fresh = PutReply { id: message.id, ..PutReply::default() };
        assert_eq!(stored_message(put.clone(), &fresh, 1000), Some(message));
        let first = MessageId(400 << 22);
        let repeat = PutReply { id: first.0, repeated_request: true, ..PutReply::default() };
        let hinted = stored_message(put, &repeat, 1000).unwrap();
        assert_eq!((hinted.id, hinted.sent_at_ms), (first.0, first.time_ms()));
        assert_eq!(hinted.expires_at_ms, first.time_ms() + 1000);
    }

    #[test]
    fn a_transient_send_takes_nothing_of_the_store() {
        let transient = Send { class: Class::Transient, idempotency_key: String::new(), ..send() };
        assert!(check_transient(&transient).is_ok());
        let error =
            check_transient(&Send { durability: Some(Durability::Fast), ..transient.clone() }).unwrap_err();
        assert!(error.message.contains("takes no durability"), "{error}");
        assert!(check_transient(&Send { class: Class::Transient, ..send() }).is_err(), "a key");
        assert!(check_transient(&Send { collapse_key: "c".into(), ..transient }).is_err());
    }

    #[test]
    fn keys_are_bounded_by_bytes() {
        assert!(check_key("k", &"ü".repeat(32), 64).is_ok());
        assert!(check_key("k", &"ü".repeat(33), 64).is_err());
        assert!(check_key("k", "a\u{7f}", 64).is_err());
    }
}
