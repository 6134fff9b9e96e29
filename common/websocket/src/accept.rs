//! The key of a request, and what the server makes of it to show that it speaks WebSocket.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a key: 16 in base64.
pub(crate) const KEY_LEN: usize = 24;
/// Bytes of the answer to a key: 20 in base64.
pub(crate) const ACCEPT_LEN: usize = 28;

/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of a client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientKey([u8; KEY_LEN]);

impl ClientKey {
    /// The key of these random bytes. They need not be secret; another for each connection shows that an answer is not an old one.
    pub fn new(random: [u8; 16]) -> ClientKey {
        let mut key = [0; KEY_LEN];
        // 16 bytes are always 24 characters.
        let _ = STANDARD.encode_slice(random, &mut key);
        ClientKey(key)
    }

    /// The key of a header, if it is 16 bytes in base64.
    pub(crate) fn from_header(value: &[u8]) -> Option<ClientKey> {
        let key: [u8; KEY_LEN] = value.try_into().ok()?;
        // The decoder wants as much space as it might need for 24 characters.
        let length = STANDARD.decode_slice(key, &mut [0; 18]).ok()?;
        (length == 16).then_some(ClientKey(key))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// What the server has to answer.
    pub(crate) fn accept(&self) -> [u8; ACCEPT_LEN] {
        let mut text = [0; KEY_LEN + GUID.len()];
        text[..KEY_LEN].copy_from_slice(&self.0);
        text[KEY_LEN..].copy_from_slice(GUID);
        let mut accept = [0; ACCEPT_LEN];
        // 20 bytes are always 28 characters.
        let _ = STANDARD.encode_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text), &mut accept);
        accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let key = ClientKey::from_header(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(&key.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key, ClientKey::new(*b"the sample nonce"));
    }

    #[test]
    fn only_16_bytes_are_a_key() {
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=!",
            "dGhlIHNhbXBsZSBub25jZSEh",
            "dGhlIHNhbXBsZSBub25jZSE=",
        ] {
            assert_eq!(ClientKey::from_header(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
