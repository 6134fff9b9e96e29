//! Resume tokens: what a device shows to get its broken session back.
//!
//! A token is `session (8 bytes) │ begun (8) │ resumes (1) │ tag (16)`, numbers big-endian: the session's id, when it began (Unix time in
//! milliseconds), how often it was resumed before, and the first 16 bytes of HMAC-SHA256 over the three, under a key that every process
//! makes for itself. Nothing is stored for a token: the session knows what its current one says, so one that was used, or that belongs
//! to a session that has ended, fits nothing any more. Devices do not look into it.

use hmac::{Hmac, KeyInit, Mac};
use longline_types::{SessionId, TimeMs};
use sha2::Sha256;

const NAMED: usize = 8 + 8 + 1;
const TAG: usize = 16;

/// Makes and checks the tokens of one process.
#[derive(Clone)]
pub(crate) struct ResumeKey(Hmac<Sha256>);

/// What a token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ResumeToken {
    pub(crate) session: SessionId,
    /// When the session began: an id may be used again.
    pub(crate) begun_ms: TimeMs,
    /// How often it was resumed before this token was given.
    pub(crate) resumes: u8,
}

impl ResumeKey {
    /// A random key: tokens of another process, or of this one before it was restarted, are refused.
    pub(crate) fn random() -> ResumeKey {
        ResumeKey::new(&rand::random())
    }

    fn new(key: &[u8; 32]) -> ResumeKey {
        ResumeKey(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The token as the device gets it.
    pub(crate) fn sign(&self, token: &ResumeToken) -> Vec<u8> {
        let named = token.named();
        let tag = self.tag(&named).finalize().into_bytes();
        [&named[..], &tag[..TAG]].concat()
    }

    /// What the token says, if this process made it. The tag is compared in constant time.
    pub(crate) fn verify(&self, bytes: &[u8]) -> Option<ResumeToken> {
        let (named, tag) = bytes.split_first_chunk::<NAMED>()?;
        if tag.len() != TAG || self.tag(named).verify_truncated_left(tag).is_err() {
            return None;
        }
        let (session, rest) = named.split_first_chunk::<8>()?;
        let (begun, rest) = rest.split_first_chunk::<8>()?;
        Some(ResumeToken {
            session: SessionId(u64::from_be_bytes(*session)),
            begun_ms: u64::from_be_bytes(*begun),
            resumes: *rest.first()?,
        })
    }

    fn tag(&self, named: &[u8; NAMED]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(named);
        mac
    }
}

impl ResumeToken {
    fn named(&self) -> [u8; NAMED] {
        let mut named = [0; NAMED];
        named[..8].copy_from_slice(&self.session.0.to_be_bytes());
        named[8..16].copy_from_slice(&self.begun_ms.to_be_bytes());
        named[16] = self.resumes;
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: ResumeToken =
        ResumeToken { session: SessionId(0x0102_0304_0506_0708), begun_ms: 1_800_000_000_000, resumes: 3 };

    #[test]
    fn what_was_signed_is_read_again_by_the_same_process() {
        let key = ResumeKey::new(&[7; 32]);
        let bytes = key.sign(&TOKEN);
        assert_eq!(key.verify(&bytes), Some(TOKEN));
        assert_eq!(ResumeKey::new(&[8; 32]).verify(&bytes), None, "another process");
        assert_ne!(ResumeKey::random().sign(&TOKEN), ResumeKey::random().sign(&TOKEN));
    }

    #[test]
    fn the_tag_is_the_hmac() {
        // printf '\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x01\xa3\x18\x5c\x50\x00\x03' |
        //   openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07
        let bytes = ResumeKey::new(&[7; 32]).sign(&TOKEN);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0102030405060708000001a3185c500003c20c2ca8d9b615015c8dd83ec0c92e07");
    }

    #[test]
    fn a_token_changed_in_any_bit_or_length_is_refused() {
        let key = ResumeKey::random();
        let good = key.sign(&TOKEN);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verify(&bad), None, "bit {bit}");
        }
        for length in 0..good.len() {
            assert_eq!(key.verify(&good[..length]), None, "{length} bytes");
        }
        assert_eq!(key.verify(&[&good[..], &[0]].concat()), None);
    }
}
