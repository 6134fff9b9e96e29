//! Who is asking.

use std::path::Path;
use std::sync::Arc;

use longline_auth::ProductKey;
use longline_products::Product;
use longline_types::{ErrorCode, now_ms};

use crate::Failure;
use crate::config::Config;
use crate::ops::Ops;

/// The product whose key the header `Authorization: Bearer <key>` has.
pub(crate) async fn product(ops: &Ops, authorization: Option<&str>) -> Result<Arc<Product>, Failure> {
    let wrong = || Failure::unauthenticated("the product key is not valid; check it, or ask for a new one");
    let key = ProductKey::parse(bearer(authorization)?).map_err(|_| {
        Failure::unauthenticated("the key is no product key; those look like ll_<product id>_<43 characters>")
    })?;
    let product = ops.products().find(key.product()).await?.ok_or_else(wrong)?;
    if !product.accepts_key(&key, now_ms()) {
        return Err(wrong());
    }
    enabled(&product)?;
    Ok(product)
}

/// Refuses a disabled product.
pub(crate) fn enabled(product: &Product) -> Result<(), Failure> {
    if product.disabled {
        let message = format!("product {} is disabled; an operator can enable it", product.id);
        return Err(Failure::new(ErrorCode::PermissionDenied, "product_disabled", message));
    }
    Ok(())
}

/// The operators' key, if one is configured.
#[derive(Clone)]
pub(crate) struct AdminKey(Option<longline_auth::AdminKey>);

/// Why the configured admin key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    /// Two are given.
    #[error("give admin_key_sha256 or admin_key_file, not both")]
    Both,
    /// The digest is something else.
    #[error("admin_key_sha256 is the SHA-256 of the key as 64 hex digits")]
    NoDigest,
    /// The file cannot be read.
    #[error("admin_key_file {path}: {reason}")]
    Unreadable {
        /// As configured.
        path: String,
        /// Why.
        reason: std::io::Error,
    },
    /// The key in the file could be guessed.
    #[error("the admin key in {path} is too short: {reason}")]
    Weak {
        /// As configured.
        path: String,
        /// Why.
        reason: longline_auth::WeakAdminKey,
    },
}

impl AdminKey {
    /// Takes the configured key, if there is one.
    pub(crate) fn from_config(config: &Config) -> Result<AdminKey, AdminKeyError> {
        match (&config.admin_key_sha256, &config.admin_key_file) {
            (Some(_), Some(_)) => Err(AdminKeyError::Both),
            (Some(hex), None) => {
                let digest = digest_of_hex(hex).ok_or(AdminKeyError::NoDigest)?;
                Ok(AdminKey(Some(longline_auth::AdminKey::from_sha256(digest))))
            }
            (None, Some(path)) => read(path).map(|key| AdminKey(Some(key))),
            (None, None) => Ok(AdminKey(None)),
        }
    }

    /// Checks `Authorization: Bearer <admin key>`, in constant time.
    pub(crate) fn check(&self, authorization: Option<&str>) -> Result<(), Failure> {
        let Some(expected) = &self.0 else {
            let message =
                "no admin key is configured here; set admin_key_sha256 or admin_key_file of the center";
            return Err(Failure::new(ErrorCode::PermissionDenied, "admin_disabled", message));
        };
        if expected.matches(bearer(authorization)?) {
            Ok(())
        } else {
            Err(Failure::unauthenticated("the admin key is not valid; product keys do not work here"))
        }
    }
}

fn bearer(authorization: Option<&str>) -> Result<&str, Failure> {
    let missing = || Failure::unauthenticated("send the header `Authorization: Bearer <key>`");
    let (scheme, key) = authorization.and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(key.trim()) } else { Err(missing()) }
}

fn read(path: &Path) -> Result<longline_auth::AdminKey, AdminKeyError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|reason| AdminKeyError::Unreadable { path: shown.clone(), reason })?;
    longline_auth::AdminKey::new(text.trim()).map_err(|reason| AdminKeyError::Weak { path: shown, reason })
}

fn digest_of_hex(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const KEY: &str = "an admin key of some length";

    fn hex(key: &str) -> String {
        Sha256::digest(key).iter().map(|b| format!("{b:02x}")).collect()
    }

    fn code(result: Result<(), Failure>) -> &'static str {
        result.map_or_else(|f| f.code, |()| "ok")
    }

    #[test]
    fn the_admin_key_is_compared_by_digest() {
        let config = Config { admin_key_sha256: Some(hex(KEY).to_uppercase()), ..Config::default() };
        let admin = AdminKey::from_config(&config).unwrap();
        assert_eq!(code(admin.check(Some(&format!("Bearer {KEY}")))), "ok");
        assert_eq!(code(admin.check(Some(&format!("bearer  {KEY}")))), "ok");
        for wrong in [None, Some("Bearer"), Some("Bearer "), Some("Basic x"), Some("Bearer an admin key")] {
            assert_eq!(code(admin.check(wrong)), "unauthenticated", "{wrong:?}");
        }
    }

    #[test]
    fn without_an_admin_key_nobody_is_one() {
        let admin = AdminKey::from_config(&Config::default()).unwrap();
        assert_eq!(code(admin.check(Some("Bearer "))), "admin_disabled");
    }

    #[test]
    fn the_key_may_stand_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
        let config = Config { admin_key_file: Some(file.path().into()), ..Config::default() };
        let admin = AdminKey::from_config(&config).unwrap();
        assert_eq!(code(admin.check(Some(&format!("Bearer {KEY}")))), "ok");
        std::fs::write(file.path(), "short").unwrap();
        assert!(matches!(AdminKey::from_config(&config), Err(AdminKeyError::Weak { .. })));
        let both = Config { admin_key_sha256: Some(hex(KEY)), ..config };
        assert!(matches!(AdminKey::from_config(&both), Err(AdminKeyError::Both)));
    }

    #[test]
    fn digests_are_64_hex_digits() {
        assert!(digest_of_hex(&"0f".repeat(32)).is_some());
        for wrong in ["", "0f", &"0g".repeat(32), &"0f".repeat(33), &"é".repeat(32)] {
            assert!(digest_of_hex(wrong).is_none(), "{wrong}");
        }
    }
}
