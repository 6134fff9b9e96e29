use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::{Slot, limits};

/// One app or business that uses the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProductId(pub u32);

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name inside a product: 1 to 128 bytes of UTF-8 without control characters. The unit of consumption.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(Arc<str>);

/// Why a text is no user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUser {
    /// There is nothing in it.
    #[error("a user name has at least 1 byte")]
    Empty,
    /// It has this many bytes.
    #[error("a user name has at most 128 bytes, this one has {0}")]
    TooLong(usize),
    /// It has a control character, such as a line break.
    #[error("a user name has no control characters")]
    ControlCharacter,
}

impl User {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<User, InvalidUser> {
        if name.is_empty() {
            return Err(InvalidUser::Empty);
        }
        if name.len() > limits::USER {
            return Err(InvalidUser::TooLong(name.len()));
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidUser::ControlCharacter);
        }
        Ok(User(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// (product, user): what a message is sent to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The product.
    pub product: ProductId,
    /// The user of that product.
    pub user: User,
}

impl Address {
    /// Checks the name and makes the address.
    pub fn new(product: u32, user: &str) -> Result<Address, InvalidUser> {
        Ok(Address { product: ProductId(product), user: User::new(user)? })
    }

    /// The address's hash, by which the register knows it.
    pub fn key(&self) -> AddressKey {
        AddressKey::of(self.product, self.user.as_str())
    }

    /// The slot it belongs to.
    pub fn slot(&self) -> Slot {
        self.key().slot()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.product, self.user)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// 128-bit xxh3 of the product (four little-endian bytes) and the user's bytes. Its top 12 bits are the slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressKey {
    /// Upper half.
    pub high: u64,
    /// Lower half.
    pub low: u64,
}

impl AddressKey {
    /// The key of an address.
    pub fn of(product: ProductId, user: &str) -> AddressKey {
        let mut hash = Xxh3::new();
        hash.update(&product.0.to_le_bytes());
        hash.update(user.as_bytes());
        let digest = hash.digest128();
        AddressKey { high: (digest >> 64) as u64, low: digest as u64 }
    }

    /// The slot it belongs to.
    pub fn slot(self) -> Slot {
        Slot::of_hash(self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_checked() {
        assert!(User::new("alice").is_ok());
        assert!(User::new(&"x".repeat(128)).is_ok());
        assert_eq!(User::new("").unwrap_err(), InvalidUser::Empty);
        assert_eq!(User::new(&"x".repeat(129)).unwrap_err(), InvalidUser::TooLong(129));
        assert_eq!(User::new("a\nb").unwrap_err(), InvalidUser::ControlCharacter);
    }

    #[test]
    fn the_key_is_fixed_since_storage_and_register_depend_on_it() {
        let key = Address::new(1, "alice").unwrap().key();
        assert_eq!(format!("{:016x}{:016x}", key.high, key.low), "6f90ae6eeaa4120d261684d78c0256af");
    }

    #[test]
    fn slots_are_filled_evenly() {
        let mut counts = vec![0u32; crate::SLOTS];
        for i in 0..409_600 {
            counts[Address::new(7, &format!("user-{i}")).unwrap().slot().index()] += 1;
        }
        assert!(counts.iter().all(|&c| (40..=170).contains(&c)), "100 each expected: {counts:?}");
    }
}
