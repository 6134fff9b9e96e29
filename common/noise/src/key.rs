//! A room's lasting key, and its public half.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::{InvalidKey, NoiseError};

/// Bytes of a key, secret or public.
pub const KEY_LEN: usize = 32;

/// The public half of a room's key. Written in base64, as in the dispatcher's answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// The key with these bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> PublicKey {
        PublicKey(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<PublicKey, InvalidKey> {
        from_base64(text.as_bytes()).map(|bytes| PublicKey(*bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A room's lasting key. Devices that know the public half can connect to whoever has the secret one, and to nobody else.
pub struct StaticKey {
    secret: PrivateKey,
    public: PublicKey,
}

impl StaticKey {
    /// A new key.
    ///
    /// # Errors
    /// [`NoiseError::Library`] if the system has no random numbers.
    pub fn generate() -> Result<StaticKey, NoiseError> {
        StaticKey::of(PrivateKey::generate(&X25519).map_err(|_| NoiseError::Library)?)
    }

    /// The key in a file: one line with its 32 secret bytes in base64, as [`StaticKey::to_file`] and `openssl rand -base64 32` write it, or
    /// only these bytes.
    ///
    /// # Errors
    /// If it is neither.
    pub fn from_file(content: &[u8]) -> Result<StaticKey, InvalidKey> {
        let secret = match <[u8; KEY_LEN]>::try_from(content) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(_) => from_base64(content)?,
        };
        let secret = PrivateKey::from_private_key(&X25519, secret.as_slice()).map_err(|_| InvalidKey)?;
        StaticKey::of(secret).map_err(|_| InvalidKey)
    }

    /// What a file with this key holds. Only the room may read it.
    ///
    /// # Errors
    /// [`NoiseError::Library`] if there is no memory.
    pub fn to_file(&self) -> Result<Zeroizing<String>, NoiseError> {
        let secret: Curve25519SeedBin<'_> = self.secret.as_be_bytes().map_err(|_| NoiseError::Library)?;
        let mut line = Zeroizing::new(STANDARD.encode(secret.as_ref()));
        line.push('\n');
        Ok(line)
    }

    /// The public half, which devices need.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn secret(&self) -> &PrivateKey {
        &self.secret
    }

    fn of(secret: PrivateKey) -> Result<StaticKey, NoiseError> {
        let public = PublicKey(public_bytes(&secret)?);
        Ok(StaticKey { secret, public })
    }
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public half of a secret key.
pub(crate) fn public_bytes(secret: &PrivateKey) -> Result<[u8; KEY_LEN], NoiseError> {
    let public = secret.compute_public_key().map_err(|_| NoiseError::Library)?;
    public.as_ref().try_into().map_err(|_| NoiseError::Library)
}

fn from_base64(text: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, InvalidKey> {
    // The decoder wants as much space as it might need for 44 characters.
    let mut space = Zeroizing::new([0; KEY_LEN + 1]);
    let text = text.trim_ascii();
    if text.len() != 44 {
        return Err(InvalidKey);
    }
    let length = STANDARD.decode_slice(text, space.as_mut_slice()).map_err(|_| InvalidKey)?;
    space[..length].try_into().map(Zeroizing::new).map_err(|_| InvalidKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file() {
        let key = StaticKey::generate().unwrap();
        let file = key.to_file().unwrap();
        assert_eq!(file.len(), 45);
        assert_eq!(StaticKey::from_file(file.as_bytes()).unwrap().public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        let debug = format!("{key:?}");
        assert!(debug.contains(&key.public().to_string()) && !debug.contains(file.trim()));
    }

    #[test]
    fn the_public_half_is_that_of_rfc_7748() {
        // 6.1: Alice's keys.
        let secret = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
            0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        assert_eq!(StaticKey::from_file(&secret).unwrap().public().to_string(), public);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let public = StaticKey::generate().unwrap().public().to_string();
        for bad in
            ["", "AAAA", &public[1..], &format!("{public}A"), &public.replace('=', "A"), &"!".repeat(44)]
        {
            assert_eq!(bad.parse::<PublicKey>(), Err(InvalidKey), "{bad:?}");
            assert_eq!(StaticKey::from_file(bad.as_bytes()).map(drop), Err(InvalidKey), "{bad:?}");
        }
    }
}
