//! A message as the cluster store handles it, and its form in Redis.

use bytes::Bytes;
use longline_pb::types::{Class, Message};
use longline_types::{Address, MessageId, TimeMs};
use prost::Message as _;

use crate::store::Put;

const DAY_MS: TimeMs = 86_400_000;
/// Expiry, flag, length of the collapse key.
const HEAD: usize = 14;
/// Time of sending and class, before the payload.
const BODY: usize = 9;

/// The day since 1970 (UTC) of a time: the partition of what expires then.
pub(super) fn day(at_ms: TimeMs) -> u32 {
    u32::try_from(at_ms / DAY_MS).unwrap_or(u32::MAX)
}

/// An id as Redis has it: 16 hexadecimal digits, so that the order of texts is the order of ids.
pub(super) fn hex(id: MessageId) -> String {
    format!("{:016x}", id.0)
}

/// The id of [`hex`].
pub(super) fn unhex(text: &[u8]) -> Option<MessageId> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().map(MessageId)
}

/// Names a row of the database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct RowId {
    pub(super) id: MessageId,
    /// Its partition.
    pub(super) day: u32,
}

/// All that the database keeps of a waiting message. Encoded (protobuf) in `unflushed`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Row {
    #[prost(fixed64, tag = "1")]
    pub(super) id: u64,
    #[prost(uint32, tag = "2")]
    pub(super) product: u32,
    #[prost(string, tag = "3")]
    pub(super) user: String,
    #[prost(int32, tag = "4")]
    pub(super) class: i32,
    #[prost(uint64, tag = "5")]
    pub(super) sent_at_ms: u64,
    #[prost(uint64, tag = "6")]
    pub(super) expires_at_ms: u64,
    #[prost(uint64, tag = "7")]
    pub(super) stored_at_ms: u64,
    #[prost(uint32, tag = "8")]
    pub(super) stored_by: u32,
    #[prost(string, tag = "9")]
    pub(super) collapse_key: String,
    #[prost(string, tag = "10")]
    pub(super) idempotency_key: String,
    /// Empty without a key.
    #[prost(bytes = "vec", tag = "11")]
    pub(super) digest: Vec<u8>,
    #[prost(bytes = "bytes", tag = "12")]
    pub(super) payload: Bytes,
}

impl Row {
    /// What is to be stored of a put.
    pub(super) fn new(put: Put, stored_at_ms: TimeMs, stored_by: u32) -> Row {
        let (idempotency_key, digest) =
            put.idempotency.map_or_else(Default::default, |i| (i.key, i.digest.to_vec()));
        Row {
            id: put.message.id,
            product: put.address.product.0,
            user: put.address.user.as_str().to_owned(),
            class: put.message.class,
            sent_at_ms: put.message.sent_at_ms,
            expires_at_ms: put.message.expires_at_ms,
            stored_at_ms,
            stored_by,
            collapse_key: put.collapse_key.unwrap_or_default(),
            idempotency_key,
            digest,
            payload: put.message.payload,
        }
    }

    /// Its name in the database.
    pub(super) fn row_id(&self) -> RowId {
        RowId { id: MessageId(self.id), day: day(self.expires_at_ms) }
    }

    /// Whose it is; none if what was read is no address.
    pub(super) fn address(&self) -> Option<Address> {
        Address::new(self.product, &self.user).ok()
    }

    /// The row as `unflushed` has it.
    pub(super) fn packed(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// The field `m<id>` of the inbox. `fast`: the row may still be on its way to the database.
    pub(super) fn record(&self, fast: bool) -> Vec<u8> {
        let collapse = self.collapse_key.as_bytes();
        let mut record = Vec::with_capacity(HEAD + collapse.len() + BODY + self.payload.len());
        record.extend_from_slice(expiry(self.expires_at_ms).as_bytes());
        record.push(if fast { b'F' } else { b'S' });
        // Keys are checked to have at most 64 bytes.
        record.push(u8::try_from(collapse.len()).unwrap_or(0));
        record.extend_from_slice(collapse);
        record.extend_from_slice(&self.sent_at_ms.to_be_bytes());
        record.push(if self.class == Class::Transient as i32 { 2 } else { 1 });
        record.extend_from_slice(&self.payload);
        record
    }
}

/// The expiry at the head of a record: 12 hexadecimal digits.
pub(super) fn expiry(at_ms: TimeMs) -> String {
    format!("{:012x}", at_ms.min((1 << 48) - 1))
}

/// The time of [`expiry`].
pub(super) fn parse_expiry(text: &[u8]) -> Option<TimeMs> {
    TimeMs::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// The message of a record.
pub(super) fn message(id: MessageId, record: Vec<u8>) -> Option<Message> {
    let record = Bytes::from(record);
    let body = HEAD + usize::from(*record.get(HEAD - 1)?);
    let payload = body + BODY;
    if record.len() < payload {
        return None;
    }
    Some(Message {
        id: id.0,
        expires_at_ms: parse_expiry(&record[..12])?,
        sent_at_ms: TimeMs::from_be_bytes(record[body..body + 8].try_into().ok()?),
        class: i32::from(record[body + 8]),
        payload: record.slice(payload..),
        ..Message::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: 0x0123_4567_89ab_cdef,
            product: 7,
            user: "alice".into(),
            class: 1,
            sent_at_ms: 1_700_000_000_000,
            expires_at_ms: 1_700_000_060_000,
            collapse_key: "score".into(),
            payload: Bytes::from_static(b"hello"),
            ..Row::default()
        }
    }

    #[test]
    fn a_record_gives_back_the_message() {
        let message = message(MessageId(row().id), row().record(false)).unwrap();
        assert_eq!(message.payload, row().payload);
        assert_eq!((message.sent_at_ms, message.expires_at_ms), (row().sent_at_ms, row().expires_at_ms));
        assert_eq!(message.class, 1);
    }

    #[test]
    fn a_damaged_record_is_no_message() {
        let record = row().record(true);
        for length in 0..record.len() - row().payload.len() {
            assert!(message(MessageId(1), record[..length].to_vec()).is_none(), "{length}");
        }
    }

    #[test]
    fn ids_as_text_keep_their_order() {
        let ids = [0, 9, 10, 255, 1 << 40, u64::MAX >> 1].map(|id| hex(MessageId(id)));
        assert!(ids.is_sorted());
        assert_eq!(unhex(ids[3].as_bytes()), Some(MessageId(255)));
    }
}
