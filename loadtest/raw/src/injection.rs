//! The injection protocol: messages in, acknowledgements out.
//!
//! A TCP connection on which all numbers are little-endian. The injector opens it with the four bytes `LLI` and 1, and then
//! sends *batches*, the server *reports*:
//!
//! ```text
//! batch     length: u32 (of what follows, at most 256 KiB) | order…
//! order     1: u8 | user: u32 | id: u64 | length: u32 | payload        deliver to one user
//!           2: u8 | id: u64 | length: u32 | payload                    deliver to every session
//!           3: u8 | class: u8 | length: u8 | prefix                    what the users are called, and the class of what follows
//! report    length: u32 (of what follows, at most 96 KiB) | absent: u32 | acked…
//! acked     user: u32 | id: u64
//! ```
//!
//! - A user is a number: that at the end of the name in HELLO, after the last `-`.
//! - Order 3 comes before all others, if it comes. User N is named `<prefix>-<N>`: who needs no names passes over the prefix. Class 0,
//!   which also holds without the order, is durable. 1 is transient: devices do not acknowledge those; they are reported as
//!   acknowledged when they have been handed to the session, and as absent if they have not.
//! - A batch is handled once it is there as a whole. What it has for one session is written at once.
//! - `absent` counts the deliveries since the last report whose user was not connected; they are dropped.
//! - An acknowledgement of a broadcast goes to the injector that sent it, as long as there were not 16 later ones. Any other
//!   goes to the injector that delivered last to that session. The server keeps no ids of unicasts: a device that acknowledges
//!   what it never got is reported all the same.
//! - All acknowledgements that came in one turn of the server go out together.
//! - An injector that does not read its reports is not read from either, until it does. If devices acknowledge on and on
//!   meanwhile, its connection is closed in the end.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use longline_types::limits::PAYLOAD;

use crate::InjectError;

/// What an injector sends first.
pub const PREFACE: [u8; 4] = *b"LLI\x01";
/// Most bytes of a batch after its length.
pub const BATCH: usize = 256 * 1024;
/// Most bytes of a report after its length.
pub(crate) const REPORT: usize = 96 * 1024;
/// Most bytes of the prefix of users: a user's name has at most 128.
const PREFIX: usize = 100;
/// Bytes of a length.
pub(crate) const LENGTH: usize = 4;
/// Bytes of a report before the first acknowledgement.
pub(crate) const REPORT_HEAD: usize = LENGTH + 4;
/// Bytes of an acknowledgement in a report.
pub(crate) const ACKED: usize = 12;

const DELIVER: u8 = 1;
const BROADCAST: u8 = 2;
const USERS: u8 = 3;
const DELIVER_HEAD: usize = 1 + 4 + 8 + 4;
const BROADCAST_HEAD: usize = 1 + 8 + 4;
const USERS_HEAD: usize = 1 + 1 + 1;

/// A message for one user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The user's number.
    pub user: u32,
    /// The message's id, which comes back when it is acknowledged.
    pub id: u64,
    /// At most 64 KiB.
    pub payload: Bytes,
}

/// A message that its device has acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Acked {
    /// The user's number.
    pub user: u32,
    /// The message's id.
    pub id: u64,
}

/// What became of deliveries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// In the order in which the acknowledgements came.
    pub acked: Vec<Acked>,
    /// Deliveries that were dropped since their user was not connected.
    pub absent: u64,
}

/// What an injector asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// A message for one user.
    Deliver(Delivery),
    /// A message for every session.
    Broadcast {
        /// The message's id.
        id: u64,
        /// At most 64 KiB.
        payload: Bytes,
    },
    /// Whom this injector's messages are for, and of which class its deliveries are.
    Users {
        /// User N is named `<prefix>-<N>`.
        prefix: String,
        /// They are not acknowledged by devices.
        transient: bool,
    },
}

impl Order {
    /// Bytes of the order in a batch; an error if its payload is too long.
    pub(crate) fn wire_len(&self) -> Result<usize, InjectError> {
        let (head, payload) = match self {
            Order::Deliver(delivery) => (DELIVER_HEAD, &delivery.payload),
            Order::Broadcast { payload, .. } => (BROADCAST_HEAD, payload),
            Order::Users { prefix, .. } if prefix.len() > PREFIX => {
                return Err(InjectError::PrefixTooLong(prefix.len()));
            }
            Order::Users { prefix, .. } => return Ok(USERS_HEAD + prefix.len()),
        };
        let length = payload.len();
        if length > PAYLOAD { Err(InjectError::PayloadTooLong(length)) } else { Ok(head + length) }
    }

    /// Appends the order to a batch, which has space for it.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        let payload = match self {
            Order::Deliver(Delivery { user, id, payload }) => {
                out.put_u8(DELIVER);
                out.put_u32_le(*user);
                out.put_u64_le(*id);
                payload
            }
            Order::Broadcast { id, payload } => {
                out.put_u8(BROADCAST);
                out.put_u64_le(*id);
                payload
            }
            Order::Users { prefix, transient } => {
                out.put_u8(USERS);
                out.put_u8((*transient).into());
                out.put_u8(prefix.len() as u8);
                return out.put_slice(prefix.as_bytes());
            }
        };
        out.put_u32_le(payload.len() as u32);
        out.put_slice(payload);
    }

    /// Takes the next order from what is left of a batch. Its payload shares the batch's memory.
    ///
    /// # Errors
    /// If it is cut off, unknown or too long. Nothing more can be read from its connection then.
    pub fn take(batch: &mut Bytes) -> Result<Order, InjectError> {
        const CUT: InjectError = InjectError::Malformed("an order is cut off");
        match batch.try_get_u8().map_err(|_| CUT)? {
            DELIVER => {
                let user = batch.try_get_u32_le().map_err(|_| CUT)?;
                let id = batch.try_get_u64_le().map_err(|_| CUT)?;
                Ok(Order::Deliver(Delivery { user, id, payload: take_payload(batch)? }))
            }
            BROADCAST => {
                let id = batch.try_get_u64_le().map_err(|_| CUT)?;
                Ok(Order::Broadcast { id, payload: take_payload(batch)? })
            }
            USERS => {
                let transient = match batch.try_get_u8().map_err(|_| CUT)? {
                    0 => false,
                    1 => true,
                    _ => return Err(InjectError::Malformed("no class has this number")),
                };
                let length = usize::from(batch.try_get_u8().map_err(|_| CUT)?);
                if length > batch.len() {
                    return Err(CUT);
                }
                let prefix = String::from_utf8(batch.split_to(length).into());
                let prefix = prefix.map_err(|_| InjectError::Malformed("a prefix is no UTF-8"))?;
                Ok(Order::Users { prefix, transient })
            }
            _ => Err(InjectError::Malformed("no order has this number")),
        }
    }
}

impl Report {
    /// Adds what a report's bytes say, without its length, to this one.
    ///
    /// # Errors
    /// If it is cut off.
    pub fn add(&mut self, mut body: &[u8]) -> Result<(), InjectError> {
        let absent = body.try_get_u32_le();
        self.absent += u64::from(absent.map_err(|_| InjectError::Malformed("a report is cut off"))?);
        let (acks, rest) = body.as_chunks::<ACKED>();
        if !rest.is_empty() {
            return Err(InjectError::Malformed("a report is cut off"));
        }
        self.acked.extend(acks.iter().map(|ack| {
            let mut ack = ack.as_slice();
            Acked { user: ack.get_u32_le(), id: ack.get_u64_le() }
        }));
        Ok(())
    }
}

/// Takes the batch or report at the start of `input`, without its length: none while it is not whole. A length beyond `longest`
/// is an error as soon as it can be seen.
///
/// # Errors
/// If the length is beyond the limit.
pub fn take_whole(input: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, InjectError> {
    let Some(length) = input.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > longest {
        return Err(InjectError::Malformed("a length is beyond the limit"));
    }
    if input.len() < LENGTH + length {
        return Ok(None);
    }
    input.advance(LENGTH);
    Ok(Some(input.split_to(length)))
}

fn take_payload(batch: &mut Bytes) -> Result<Bytes, InjectError> {
    let length = batch.try_get_u32_le().map_err(|_| InjectError::Malformed("an order is cut off"))? as usize;
    if length > PAYLOAD {
        return Err(InjectError::PayloadTooLong(length));
    }
    if length > batch.len() {
        return Err(InjectError::Malformed("a payload is cut off"));
    }
    Ok(batch.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Vec<Order> {
        let payload = Bytes::from_static(b"hello");
        vec![
            Order::Deliver(Delivery { user: 7, id: 1 << 60, payload: payload.clone() }),
            Order::Broadcast { id: 3, payload },
            Order::Users { prefix: "a-1".into(), transient: true },
            Order::Deliver(Delivery { user: u32::MAX, id: 0, payload: Bytes::new() }),
        ]
    }

    fn encoded(orders: &[Order]) -> BytesMut {
        let mut out = BytesMut::new();
        for order in orders {
            let before = out.len();
            order.put(&mut out);
            assert_eq!(out.len() - before, order.wire_len().unwrap());
        }
        out
    }

    #[test]
    fn orders_come_out_as_they_went_in() {
        let mut batch = encoded(&orders()).freeze();
        for order in orders() {
            assert_eq!(Order::take(&mut batch).unwrap(), order);
        }
        assert!(batch.is_empty());
    }

    #[test]
    fn an_order_that_is_cut_anywhere_is_refused() {
        for order in orders() {
            let bytes = encoded(&[order]).freeze();
            for cut in 0..bytes.len() {
                assert!(Order::take(&mut bytes.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_payload_beyond_the_limit_is_refused_on_both_sides() {
        let payload = Bytes::from(vec![0; PAYLOAD + 1]);
        let order = Order::Broadcast { id: 1, payload };
        assert!(matches!(order.wire_len(), Err(InjectError::PayloadTooLong(_))));
        let mut out = BytesMut::new();
        order.put(&mut out);
        assert!(matches!(Order::take(&mut out.freeze()), Err(InjectError::PayloadTooLong(_))));
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole_and_refused_by_its_length() {
        let mut input = BytesMut::new();
        for byte in [3, 0, 0, 0, 7, 8] {
            input.put_u8(byte);
            assert_eq!(take_whole(&mut input, 3).unwrap(), None);
        }
        input.put_slice(&[9, 1]);
        assert_eq!(take_whole(&mut input, 3).unwrap().unwrap()[..], [7, 8, 9]);
        assert_eq!(input[..], [1]);
        let mut long = BytesMut::from(&[4, 0, 0, 0][..]);
        assert!(take_whole(&mut long, 3).is_err());
    }

    #[test]
    fn a_report_is_read_and_refused_when_it_is_cut() {
        let mut report = Report::default();
        let body = [2, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1];
        report.add(&body).unwrap();
        report.add(&body[..4]).unwrap();
        assert_eq!(report, Report { acked: vec![Acked { user: 9, id: (1 << 56) + 5 }], absent: 4 });
        assert!(report.add(&body[..15]).is_err());
        assert!(report.add(&body[..3]).is_err());
    }
}
