use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The operator's key for `/v1/admin`, as configured. Only its digest is kept.
#[derive(Clone)]
pub struct AdminKey {
    sha256: [u8; 32],
}

/// The configured admin key could be guessed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the admin key needs at least 16 bytes, this one has {0}")]
pub struct WeakAdminKey(pub usize);

impl AdminKey {
    /// Shorter keys are refused, in bytes.
    pub const MIN_LENGTH: usize = 16;

    /// Takes the configured key.
    pub fn new(key: &str) -> Result<AdminKey, WeakAdminKey> {
        if key.len() < Self::MIN_LENGTH {
            return Err(WeakAdminKey(key.len()));
        }
        Ok(AdminKey { sha256: Sha256::digest(key).into() })
    }

    /// Takes the SHA-256 of the key, where the configuration holds only that.
    pub fn from_sha256(sha256: [u8; 32]) -> AdminKey {
        AdminKey { sha256 }
    }

    /// Whether this is the key. Takes the same time for every wrong key of a length.
    pub fn matches(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.sha256.ct_eq(&presented).into()
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_matches() {
        let key = AdminKey::new("0123456789abcdef").unwrap();
        assert!(key.matches("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF"] {
            assert!(!key.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn keys_that_could_be_guessed_are_refused() {
        assert_eq!(AdminKey::new("0123456789abcde").unwrap_err(), WeakAdminKey(15));
        assert!(!format!("{:?}", AdminKey::new("0123456789abcdef").unwrap()).contains("0123"));
    }
}
