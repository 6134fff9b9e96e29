//! Signatures of callbacks, with which a business tells them from forged ones.
//!
//! The header is `Longline-Signature: t=<Unix seconds>,v1=<hex of HMAC-SHA256(secret, "<t>.<body>")>`. A receiver checks that
//! one `v1` fits and that `t` is recent; entries of other names are to be ignored.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Name of the header.
pub const HEADER: &str = "Longline-Signature";

/// A receiver should refuse signatures older (or newer) than this.
pub const TOLERANCE_S: u64 = 300;

/// Longest header value that is looked at.
const MAX_LENGTH: usize = 1024;

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// Too long, without a time, or without a signature.
    #[error("the header is not t=<Unix seconds>,v1=<hex>")]
    Malformed,
    /// Made too long ago, or in the future.
    #[error("the signature's time is too far from now")]
    TooOld,
    /// Another secret, another body, or another time.
    #[error("the signature does not fit")]
    Mismatch,
}

/// The header's value for a body sent at `at_s` (Unix seconds).
pub fn sign(secret: &[u8], at_s: u64, body: &[u8]) -> String {
    let digest = mac(secret, at_s, body).finalize().into_bytes();
    let mut value = format!("t={at_s},v1=");
    for byte in digest {
        // Writing to a String cannot fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

/// Checks the header's value as a receiver does, at the time `now_s`.
pub fn verify(
    secret: &[u8],
    value: &str,
    body: &[u8],
    now_s: u64,
    tolerance_s: u64,
) -> Result<(), InvalidSignature> {
    if value.len() > MAX_LENGTH {
        return Err(InvalidSignature::Malformed);
    }
    let entries = || value.split(',').filter_map(|entry| entry.trim().split_once('='));
    let at_s: u64 = entries()
        .find(|(name, _)| *name == "t")
        .and_then(|(_, at)| at.parse().ok())
        .ok_or(InvalidSignature::Malformed)?;
    let mut signatures = entries().filter(|(name, _)| *name == "v1").peekable();
    if signatures.peek().is_none() {
        return Err(InvalidSignature::Malformed);
    }
    if at_s.abs_diff(now_s) > tolerance_s {
        return Err(InvalidSignature::TooOld);
    }
    let mac = mac(secret, at_s, body);
    let fits = |hex| bytes_of_hex(hex).is_some_and(|digest| mac.clone().verify_slice(&digest).is_ok());
    if signatures.any(|(_, hex)| fits(hex)) { Ok(()) } else { Err(InvalidSignature::Mismatch) }
}

fn mac(secret: &[u8], at_s: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(at_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

fn bytes_of_hex(hex: &str) -> Option<[u8; 32]> {
    let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: u64 = 1_800_000_000;
    const REFERENCE: &str = "bb7079132825ac793cea8c013c1dd24d926b9b02132245b10588d9e5c0df70d7";

    fn check(value: &str, now_s: u64) -> Result<(), InvalidSignature> {
        verify(b"secret", value, b"{}", now_s, TOLERANCE_S)
    }

    #[test]
    fn the_form_is_fixed_since_businesses_check_it() {
        // printf '1800000000.{}' | openssl dgst -sha256 -hmac secret
        assert_eq!(sign(b"secret", AT, b"{}"), format!("t=1800000000,v1={REFERENCE}"));
    }

    #[test]
    fn what_was_signed_is_accepted_within_the_tolerance() {
        let value = sign(b"secret", AT, b"{}");
        assert_eq!(check(&value, AT + TOLERANCE_S), Ok(()));
        assert_eq!(check(&value, AT - TOLERANCE_S), Ok(()));
        assert_eq!(check(&value, AT + TOLERANCE_S + 1), Err(InvalidSignature::TooOld));
        assert_eq!(check(&value, AT - TOLERANCE_S - 1), Err(InvalidSignature::TooOld));
    }

    #[test]
    fn other_entries_and_further_signatures_are_allowed() {
        let zeros = "0".repeat(64);
        assert_eq!(check(&format!("v0=x, t={AT}, v1={zeros}, v1={REFERENCE}"), AT), Ok(()));
        assert_eq!(check(&format!("t={AT},v1={zeros}"), AT), Err(InvalidSignature::Mismatch));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let value = sign(b"secret", AT, b"{}");
        assert_eq!(verify(b"other", &value, b"{}", AT, 1), Err(InvalidSignature::Mismatch));
        assert_eq!(verify(b"secret", &value, b"{ }", AT, 1), Err(InvalidSignature::Mismatch));
        let moved = value.replace("t=1800000000", "t=1800000001");
        assert_eq!(check(&moved, AT), Err(InvalidSignature::Mismatch));
        for bad in [
            "",
            "t=1800000000",
            &format!("v1={REFERENCE}"),
            &format!("t=x,v1={REFERENCE}"),
            &"t".repeat(1025),
        ] {
            assert_eq!(check(bad, AT), Err(InvalidSignature::Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_and_secret_verify_and_a_changed_character_does_not(
            secret in proptest::collection::vec(any::<u8>(), 0..100),
            body in proptest::collection::vec(any::<u8>(), 0..300),
            place in 0usize..64,
        ) {
            let mut value = sign(&secret, AT, &body);
            prop_assert_eq!(verify(&secret, &value, &body, AT, 0), Ok(()));
            let place = value.len() - 1 - place;
            let other = if value.as_bytes()[place] == b'0' { "1" } else { "0" };
            value.replace_range(place..=place, other);
            prop_assert_eq!(verify(&secret, &value, &body, AT, 0), Err(InvalidSignature::Mismatch));
        }

        #[test]
        fn no_text_makes_it_panic(value in ".{0,200}|t=[0-9]{1,25},v1=.{60,70}") {
            prop_assert!(check(&value, AT).is_err());
        }
    }
}
