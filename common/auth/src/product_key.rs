use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longline_types::{ProductId, TimeMs};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A business's key: `ll_<product id>_<43 base64url characters>` (256 random bits). The id finds the product; whether the key is
/// right is decided by the SHA-256 of the whole text.
#[derive(Clone, PartialEq, Eq)]
pub struct ProductKey {
    product: ProductId,
    text: String,
}

/// The text does not have the form of a product key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a product key looks like ll_<product id>_<43 characters>")]
pub struct InvalidProductKey;

/// What the store keeps of a product key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredKey {
    /// Of the whole key.
    pub sha256: [u8; 32],
    /// From this time on (Unix milliseconds) it is not accepted; 0: never ends. Set on the old key by a rotation.
    pub expires_at_ms: TimeMs,
}

const PREFIX: &str = "ll_";
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;
/// `ll_`, ten digits, `_`, the secret.
const MAX_LENGTH: usize = PREFIX.len() + 10 + 1 + SECRET_CHARS;

impl ProductKey {
    /// A new random key for the product. Shown once to the business; only [`ProductKey::sha256`] is stored.
    pub fn generate(product: ProductId) -> ProductKey {
        let mut secret = [0u8; SECRET_BYTES];
        rand::fill(&mut secret);
        ProductKey { product, text: format!("{PREFIX}{product}_{}", URL_SAFE_NO_PAD.encode(secret)) }
    }

    /// Reads a key as a business presents it. Says nothing about whether it is right.
    pub fn parse(text: &str) -> Result<ProductKey, InvalidProductKey> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidProductKey);
        }
        let (id, secret) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(InvalidProductKey)?;
        let product = canonical_id(id).ok_or(InvalidProductKey)?;
        let mut bytes = [0u8; SECRET_BYTES];
        match URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes) {
            Ok(SECRET_BYTES) => Ok(ProductKey { product, text: text.to_owned() }),
            _ => Err(InvalidProductKey),
        }
    }

    /// The product that the key names.
    pub fn product(&self) -> ProductId {
        self.product
    }

    /// The key itself. For the one answer in which the business learns it, and for clients.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is stored of it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }

    /// Whether it is one of the product's keys now. Which of them, and how nearly, cannot be told from the time it takes.
    pub fn is_accepted(&self, stored: &[StoredKey], now_ms: TimeMs) -> bool {
        let presented = self.sha256();
        let found = stored
            .iter()
            .filter(|key| key.expires_at_ms == 0 || now_ms < key.expires_at_ms)
            .fold(Choice::from(0), |found, key| found | key.sha256.ct_eq(&presented));
        found.into()
    }
}

impl fmt::Debug for ProductKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_…", self.product)
    }
}

/// The number, if the text is its one decimal form.
fn canonical_id(text: &str) -> Option<ProductId> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(ProductId(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(key: &ProductKey, expires_at_ms: TimeMs) -> StoredKey {
        StoredKey { sha256: key.sha256(), expires_at_ms }
    }

    #[test]
    fn a_generated_key_names_its_product_and_is_accepted() {
        for id in [1, 7, u32::MAX] {
            let key = ProductKey::generate(ProductId(id));
            let read = ProductKey::parse(key.expose()).unwrap();
            assert_eq!(read.product(), ProductId(id));
            assert!(read.is_accepted(&[stored(&key, 0)], 1));
        }
        assert_ne!(ProductKey::generate(ProductId(1)), ProductKey::generate(ProductId(1)));
    }

    #[test]
    fn a_rotated_key_ends_at_its_time() {
        let (old, new) = (ProductKey::generate(ProductId(1)), ProductKey::generate(ProductId(1)));
        let keys = [stored(&old, 5_000), stored(&new, 0)];
        assert!(old.is_accepted(&keys, 4_999));
        assert!(!old.is_accepted(&keys, 5_000));
        assert!(new.is_accepted(&keys, 5_000));
        assert!(!ProductKey::generate(ProductId(1)).is_accepted(&keys, 1));
        assert!(!old.is_accepted(&[], 1));
    }

    #[test]
    fn other_forms_are_refused() {
        let secret = "A".repeat(43);
        for bad in [
            String::new(),
            "ll_".into(),
            format!("ll_1{secret}"),
            format!("ll__{secret}"),
            format!("ll_+1_{secret}"),
            format!("ll_01_{secret}"),
            format!("ll_4294967296_{secret}"),
            format!("ll_1_{secret}A"),
            format!("ll_1_{}", "A".repeat(42)),
            format!("ll_1_{}=", "A".repeat(42)),
            format!("ll_1_{}+", "A".repeat(42)),
            // The last character carries two bits that must be zero.
            format!("ll_1_{}B", "A".repeat(42)),
            format!(" ll_1_{secret}"),
            "ä".repeat(1000),
        ] {
            assert_eq!(ProductKey::parse(&bad), Err(InvalidProductKey), "{bad:?}");
        }
        assert!(ProductKey::parse(&format!("ll_1_{secret}")).is_ok());
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ProductKey::generate(ProductId(9));
        assert_eq!(format!("{key:?}"), "ll_9_…");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_it_gives_back(text in "(ll_)?[0-9]{0,11}_?[A-Za-z0-9_-]{0,50}|.*") {
            if let Ok(key) = ProductKey::parse(&text) {
                prop_assert_eq!(key.expose(), text);
            }
        }

        #[test]
        fn a_tampered_key_is_not_accepted(place in 0usize..47, to in "[A-Za-z0-9_-]") {
            let key = ProductKey::generate(ProductId(5));
            let mut text = key.expose().to_owned();
            text.replace_range(place..=place, &to);
            prop_assume!(text != key.expose());
            if let Ok(tampered) = ProductKey::parse(&text) {
                prop_assert!(!tampered.is_accepted(&[stored(&key, 0)], 1));
            }
        }
    }
}
