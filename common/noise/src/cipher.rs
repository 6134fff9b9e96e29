//! ChaCha20-Poly1305 with a counter as nonce.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::{KEY_LEN, NoiseError};

/// Bytes of authentication at the end of what is encrypted.
pub(crate) const TAG_LEN: usize = 16;

/// One direction of a session: the key, and how many records it has seen. The library's own context, which is larger, is made when it
/// is needed.
pub(crate) struct Cipher {
    key: [u8; KEY_LEN],
    counter: u64,
}

impl Cipher {
    pub(crate) fn new(key: [u8; KEY_LEN]) -> Cipher {
        Cipher { key, counter: 0 }
    }

    /// Encrypts bytes where they are: what is to follow them. `with` is authenticated as well.
    pub(crate) fn seal(&mut self, bytes: &mut [u8], with: &[u8]) -> Result<[u8; TAG_LEN], NoiseError> {
        let (key, nonce) = self.next()?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(with), bytes);
        self.counter += 1;
        tag.ok().and_then(|tag| tag.as_ref().try_into().ok()).ok_or(NoiseError::Library)
    }

    /// Decrypts bytes, the last of which are [`TAG_LEN`] of authentication, where they are: how many are left.
    pub(crate) fn open(&mut self, bytes: &mut [u8], with: &[u8]) -> Result<usize, NoiseError> {
        let (key, nonce) = self.next()?;
        let opened = key.open_in_place(nonce, Aad::from(with), bytes).map_err(|_| NoiseError::Forged)?.len();
        self.counter += 1;
        Ok(opened)
    }

    /// The key and the nonce of the next record. The last number is not used, as Noise demands.
    fn next(&self) -> Result<(LessSafeKey, Nonce), NoiseError> {
        if self.counter == u64::MAX {
            return Err(NoiseError::Exhausted);
        }
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.key).map_err(|_| NoiseError::Library)?;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_never_used() {
        let mut cipher = Cipher { key: [7; KEY_LEN], counter: u64::MAX - 1 };
        assert!(cipher.seal(&mut [1, 2, 3], &[]).is_ok());
        assert_eq!(cipher.seal(&mut [1, 2, 3], &[]), Err(NoiseError::Exhausted));
        assert_eq!(cipher.open(&mut [0; 20], &[]), Err(NoiseError::Exhausted));
    }
}
