//! What the business gets: the JSON body of a callback.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longline_pb::saver::{UplinkKind, UplinkRecord};
use longline_types::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Data from a device, as the business reads it.
#[derive(Serialize)]
struct Uplink<'a> {
    r#type: &'static str,
    id: String,
    product: u32,
    user: &'a str,
    device: &'a str,
    route: u32,
    sequence: u64,
    /// As the device wrote it, if it is JSON; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    payload_base64: String,
    received_at: String,
}

/// Somebody came or went, as the business reads it.
#[derive(Serialize)]
struct Presence<'a> {
    r#type: &'static str,
    id: String,
    product: u32,
    event: &'static str,
    user: &'a str,
    device: &'a str,
    session: String,
    at: String,
    room: u32,
    /// Of going offline: the close reason's name.
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

/// What a queued presence event carries as its payload: it has no fields of its own in the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PresencePlace {
    /// Session in the room.
    pub(crate) session: u64,
    /// Number of the room.
    pub(crate) room: u32,
}

impl PresencePlace {
    pub(crate) fn to_payload(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("two numbers can be written as JSON")
    }

    fn of_payload(payload: &[u8]) -> PresencePlace {
        serde_json::from_slice(payload).unwrap_or_default()
    }
}

/// The body for a queued record. The same record gives the same body, whoever sends it.
pub(crate) fn body(record: &UplinkRecord) -> Vec<u8> {
    let written = match record.kind() {
        UplinkKind::Online => serde_json::to_vec(&presence(record, "online")),
        UplinkKind::Offline => serde_json::to_vec(&presence(record, "offline")),
        UplinkKind::Data | UplinkKind::Unspecified => serde_json::to_vec(&uplink(record)),
    };
    written.expect("texts, numbers and checked JSON can be written as JSON")
}

fn uplink(record: &UplinkRecord) -> Uplink<'_> {
    let (product, user) = address(record);
    Uplink {
        r#type: "uplink",
        id: record.id.to_string(),
        product,
        user,
        device: &record.device,
        route: record.route,
        sequence: record.sequence,
        payload: json(&record.payload),
        payload_base64: STANDARD.encode(&record.payload),
        received_at: rfc3339(record.received_at_ms),
    }
}

fn presence<'a>(record: &'a UplinkRecord, event: &'static str) -> Presence<'a> {
    let (product, user) = address(record);
    let place = PresencePlace::of_payload(&record.payload);
    Presence {
        r#type: "presence",
        id: record.id.to_string(),
        product,
        event,
        user,
        device: &record.device,
        session: place.session.to_string(),
        at: rfc3339(record.received_at_ms),
        room: place.room,
        reason: &record.detail,
    }
}

fn address(record: &UplinkRecord) -> (u32, &str) {
    record.address.as_ref().map_or((0, ""), |a| (a.product, a.user.as_str()))
}

/// The payload as JSON text, unchanged. Deeply nested JSON counts as none: the business's parser shall not be the first to meet it.
fn json(payload: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice::<serde_json::Value>(payload).ok()?;
    serde_json::from_slice(payload).ok()
}

#[cfg(test)]
mod tests {
    use longline_pb::types::Address;
    use serde_json::{Value, json};

    use super::*;

    fn record(kind: UplinkKind, payload: impl Into<Vec<u8>>) -> UplinkRecord {
        UplinkRecord {
            id: 123_456_789_012_345_678,
            kind: kind.into(),
            address: Some(Address { product: 7, user: "alice".into() }),
            device: "d1".into(),
            sequence: 3,
            route: 2,
            payload: payload.into().into(),
            received_at_ms: 1_735_689_599_001,
            attempts: 0,
            detail: String::new(),
        }
    }

    fn read(record: &UplinkRecord) -> Value {
        serde_json::from_slice(&body(record)).unwrap()
    }

    #[test]
    fn an_uplink_in_json_comes_as_json_and_as_bytes() {
        let expected = json!({
            "type": "uplink", "id": "123456789012345678", "product": 7, "user": "alice", "device": "d1", "route": 2,
            "sequence": 3, "payload": {"a": 1}, "payload_base64": "eyJhIjogMX0=",
            "received_at": "2024-12-31T23:59:59.001Z"
        });
        assert_eq!(read(&record(UplinkKind::Data, br#"{"a": 1}"#)), expected);
    }

    #[test]
    fn numbers_in_the_payload_are_not_touched() {
        let text = body(&record(UplinkKind::Data, "123456789012345678901234567890.10"));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(r#""payload":123456789012345678901234567890.10,"#), "{text}");
    }

    #[test]
    fn what_is_no_json_comes_as_bytes_only() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for payload in [&b""[..], b"\xff\x00", b"{\"a\":", b"{} {}", deep.as_bytes()] {
            let read = read(&record(UplinkKind::Data, payload));
            assert_eq!(read.get("payload"), None, "{payload:?}");
            assert_eq!(read["payload_base64"], STANDARD.encode(payload));
        }
    }

    #[test]
    fn presence_says_who_where_and_why() {
        let place = PresencePlace { session: u64::MAX, room: 4 };
        let mut record = record(UplinkKind::Offline, place.to_payload());
        record.detail = "heartbeat_timeout".into();
        let expected = json!({
            "type": "presence", "id": "123456789012345678", "product": 7, "event": "offline", "user": "alice",
            "device": "d1", "session": "18446744073709551615", "at": "2024-12-31T23:59:59.001Z", "room": 4,
            "reason": "heartbeat_timeout"
        });
        assert_eq!(read(&record), expected);
        record.kind = UplinkKind::Online.into();
        record.detail = String::new();
        assert_eq!(read(&record)["event"], "online");
        assert_eq!(read(&record).get("reason"), None);
    }
}
