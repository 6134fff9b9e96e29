//! Payloads in JSON bodies.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::Failure;

/// Any JSON value, `null` included, as its compact text: numbers, key order and escapes as they were sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct JsonPayload(String);

impl<'de> Deserialize<'de> for JsonPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonPayload, D::Error> {
        Ok(JsonPayload(compact(Box::<RawValue>::deserialize(deserializer)?.get())))
    }
}

/// For a field that is absent or has a value, where `null` is a value.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JsonPayload>, D::Error> {
    JsonPayload::deserialize(deserializer).map(Some)
}

/// The bytes that a device gets: of the one field of the two that is given.
pub(crate) fn payload(json: Option<JsonPayload>, base64: Option<String>) -> Result<Bytes, Failure> {
    match (json, base64) {
        (Some(JsonPayload(text)), None) => Ok(Bytes::from(text)),
        (None, Some(text)) => decode(&text),
        (Some(_), Some(_)) => Err(Failure::invalid("give payload or payload_base64, not both")),
        (None, None) => Err(Failure::invalid("give payload (any JSON value) or payload_base64 (any bytes)")),
    }
}

/// Standard Base64 with padding, or its URL-safe form without.
fn decode(text: &str) -> Result<Bytes, Failure> {
    STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).map(Bytes::from).map_err(|_| {
        Failure::invalid("payload_base64 is no Base64 (standard with padding, or URL-safe without)")
    })
}

/// Valid JSON without the space between its tokens.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Holder {
        #[serde(default, deserialize_with = "present")]
        payload: Option<JsonPayload>,
    }

    fn sent(json: &str) -> Option<String> {
        let holder: Holder = serde_json::from_str(&format!("{{\"payload\": {json}}}")).unwrap();
        holder.payload.map(|JsonPayload(text)| text)
    }

    #[test]
    fn the_value_is_kept_and_only_space_goes() {
        for (json, text) in [
            ("null", "null"),
            (" \"a b\\\" c\\\\\" ", "\"a b\\\" c\\\\\""),
            ("{ \"b\" : 1,\n\t\"a\" : [ 1 , 2 ] }", "{\"b\":1,\"a\":[1,2]}"),
            ("123456789012345678901234567890.10", "123456789012345678901234567890.10"),
            ("\"\\u00e9 \u{e9}\"", "\"\\u00e9 \u{e9}\""),
        ] {
            assert_eq!(sent(json).as_deref(), Some(text));
        }
        assert_eq!(serde_json::from_str::<Holder>("{}").unwrap().payload, None);
    }

    #[test]
    fn exactly_one_payload_is_given() {
        let json = || Some(JsonPayload("1".into()));
        assert_eq!(payload(json(), None).unwrap(), "1");
        assert_eq!(payload(None, Some("AP8=".into())).unwrap(), &[0, 255][..]);
        assert_eq!(payload(None, Some("_-8".into())).unwrap(), &[255, 239][..]);
        for (json, base64) in [(json(), Some("AP8=".into())), (None, None), (None, Some("A*".into()))] {
            assert_eq!(payload(json, base64).unwrap_err().code, "invalid_argument");
        }
    }

    proptest! {
        #[test]
        fn compacting_says_the_same_json(text in "\\PC*", numbers in prop::collection::vec(any::<i64>(), 0..5)) {
            let value = serde_json::json!({ "text": text, "list": numbers, "inner": { "x": null, "": true } });
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&spaced), serde_json::to_string(&value).unwrap());
        }
    }
}
