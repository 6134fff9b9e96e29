//! Admission tickets: what a room gives a session that it sends away, so that the next room need not check the user's tokens again.
//!
//! A ticket is opaque to devices: version (1 byte), the connection counter of the session it was given to and the time it ends (8
//! bytes each, big-endian), then for each address of the session the first 16 bytes of HMAC-SHA256 over all of that, the device
//! and the address, with a key that the rooms of a cluster share. So it names nobody, and cannot be extended to another address,
//! another device or a longer time.
//!
//! It may be shown more than once in its short life, by the same device with a higher counter each time. That gives nothing away:
//! a bind under a higher counter of the same device replaces the device's own earlier one (R1), and who has stolen a ticket from
//! a connection has seen the tokens on it as well.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use longline_types::{Address, Device, TimeMs, limits};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// The form of a ticket, and of stored keys.
const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 8;
const TAG: usize = 16;
const KEY: usize = 32;
/// Parts this use of the keys from any other.
const PURPOSE: &[u8] = b"longline admission ticket\0";

/// The keys of a cluster's tickets: the newest makes them, the one before is still accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKeys {
    made_at_ms: TimeMs,
    current: [u8; KEY],
    previous: Option<[u8; KEY]>,
}

/// Why a ticket does not admit a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTicket {
    /// It does not have the form of a ticket.
    #[error("this is no ticket")]
    Malformed,
    /// Its time is over.
    #[error("the ticket has expired")]
    Expired,
    /// It was given to this connection of the device or a later one.
    #[error("the ticket is for a later connection of the device")]
    Counter,
    /// Made with a key that is not known, for another device, or not for this address.
    #[error("the ticket is not for this device and user")]
    Mismatch,
}

impl InvalidTicket {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            InvalidTicket::Malformed => "malformed",
            InvalidTicket::Expired => "expired",
            InvalidTicket::Counter => "counter",
            InvalidTicket::Mismatch => "mismatch",
        }
    }
}

impl TicketKeys {
    /// A new random key, with none before it.
    pub fn generate(now_ms: TimeMs) -> TicketKeys {
        let mut current = [0; KEY];
        rand::fill(&mut current);
        TicketKeys { made_at_ms: now_ms, current, previous: None }
    }

    /// A new random key; the newest so far is accepted until the next rotation.
    pub fn rotated(&self, now_ms: TimeMs) -> TicketKeys {
        TicketKeys { previous: Some(self.current), ..TicketKeys::generate(now_ms) }
    }

    /// When the newest key was made.
    pub fn made_at_ms(&self) -> TimeMs {
        self.made_at_ms
    }

    /// As they are stored: version, time, one or two keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.made_at_ms.to_be_bytes());
        bytes.extend(self.current);
        bytes.extend(self.previous.iter().flatten());
        bytes
    }

    /// Reads stored keys; none if this is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<TicketKeys> {
        let (version, rest) = bytes.split_first()?;
        let (made_at_ms, rest) = rest.split_first_chunk()?;
        let (current, rest) = rest.split_first_chunk()?;
        let previous = match rest {
            [] => None,
            rest => Some(*rest.as_array()?),
        };
        (*version == VERSION).then(|| TicketKeys {
            made_at_ms: TimeMs::from_be_bytes(*made_at_ms),
            current: *current,
            previous,
        })
    }

    /// A ticket for the addresses (the first 16) that this connection of the device holds, good for `life_ms` from `now_ms`. Empty
    /// without an address.
    pub fn issue<'a>(
        &self,
        device: Device,
        addresses: impl IntoIterator<Item = &'a Address>,
        now_ms: TimeMs,
        life_ms: u64,
    ) -> Vec<u8> {
        let mut ticket = vec![VERSION];
        ticket.extend(device.counter.to_be_bytes());
        ticket.extend(now_ms.saturating_add(life_ms).to_be_bytes());
        let head: [u8; HEAD] = ticket.as_slice().try_into().expect("the head has this length");
        for address in addresses.into_iter().take(limits::BINDS) {
            ticket.extend(tag(&self.current, &head, device, address));
        }
        if ticket.len() == HEAD { Vec::new() } else { ticket }
    }

    /// Whether the ticket admits this connection of the device to the address now.
    ///
    /// # Errors
    /// Why it does not. That a tag does not fit takes the same time wherever it differs.
    pub fn admits(
        &self,
        ticket: &[u8],
        device: Device,
        address: &Address,
        now_ms: TimeMs,
    ) -> Result<(), InvalidTicket> {
        let (head, tags) = ticket.split_first_chunk::<HEAD>().ok_or(InvalidTicket::Malformed)?;
        let (tags, rest) = tags.as_chunks::<TAG>();
        if head[0] != VERSION || !rest.is_empty() || tags.is_empty() || tags.len() > limits::BINDS {
            return Err(InvalidTicket::Malformed);
        }
        let number = |from: usize| u64::from_be_bytes(std::array::from_fn(|i| head[from + i]));
        if now_ms >= number(9) {
            return Err(InvalidTicket::Expired);
        }
        if device.counter <= number(1) {
            return Err(InvalidTicket::Counter);
        }
        let mut fits = Choice::from(0);
        for key in std::iter::once(&self.current).chain(&self.previous) {
            let wanted = tag(key, head, device, address);
            for tag in tags {
                fits |= wanted.ct_eq(tag);
            }
        }
        if bool::from(fits) { Ok(()) } else { Err(InvalidTicket::Mismatch) }
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("made_at_ms", &self.made_at_ms).finish_non_exhaustive()
    }
}

fn tag(key: &[u8; KEY], head: &[u8; HEAD], device: Device, address: &Address) -> [u8; TAG] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    // All parts but the last have fixed lengths, so no two (head, device, address) give the same bytes.
    mac.update(PURPOSE);
    mac.update(head);
    mac.update(&device.hash.to_be_bytes());
    mac.update(&address.product.0.to_be_bytes());
    mac.update(address.user.as_str().as_bytes());
    let digest = mac.finalize().into_bytes();
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: TimeMs = 1_800_000_000_000;
    const LIFE: u64 = 60_000;

    fn alice() -> Address {
        Address::new(1, "alice").unwrap()
    }

    fn bob() -> Address {
        Address::new(2, "bob").unwrap()
    }

    fn keys() -> TicketKeys {
        TicketKeys::generate(NOW)
    }

    fn phone(counter: u64) -> Device {
        Device::new("phone", counter)
    }

    #[test]
    fn a_ticket_admits_the_next_connections_of_its_device_to_its_addresses_for_a_while() {
        let keys = keys();
        let ticket = keys.issue(phone(7), [&alice(), &bob()], NOW, LIFE);
        let admits = |device, address: &Address, at| keys.admits(&ticket, device, address, at);
        assert_eq!(admits(phone(8), &alice(), NOW), Ok(()));
        assert_eq!(admits(phone(99), &bob(), NOW + LIFE - 1), Ok(()));
        assert_eq!(admits(phone(8), &alice(), NOW + LIFE), Err(InvalidTicket::Expired));
        assert_eq!(admits(phone(7), &alice(), NOW), Err(InvalidTicket::Counter));
        assert_eq!(admits(Device::new("tablet", 8), &alice(), NOW), Err(InvalidTicket::Mismatch));
        let carol = Address::new(1, "carol").unwrap();
        assert_eq!(admits(phone(8), &carol, NOW), Err(InvalidTicket::Mismatch));
        let elsewhere = Address::new(2, "alice").unwrap();
        assert_eq!(admits(phone(8), &elsewhere, NOW), Err(InvalidTicket::Mismatch));
    }

    #[test]
    fn a_rotated_key_is_good_once_more() {
        let first = keys();
        let ticket = first.issue(phone(1), [&alice()], NOW, LIFE);
        let second = first.rotated(NOW + 1);
        assert_eq!(second.admits(&ticket, phone(2), &alice(), NOW), Ok(()));
        assert_eq!(second.made_at_ms(), NOW + 1);
        let third = second.rotated(NOW + 2);
        assert_eq!(third.admits(&ticket, phone(2), &alice(), NOW), Err(InvalidTicket::Mismatch));
    }

    #[test]
    fn keys_are_stored_and_read_and_never_shown() {
        for keys in [keys(), keys().rotated(NOW + 5)] {
            assert_eq!(TicketKeys::from_bytes(&keys.to_bytes()), Some(keys.clone()));
            assert_eq!(format!("{keys:?}"), format!("TicketKeys {{ made_at_ms: {}, .. }}", keys.made_at_ms));
        }
        let bytes = keys().to_bytes();
        for bad in [&b""[..], b"x", &bytes[..40], &[&bytes[..], b"x"].concat(), &[&[9], &bytes[1..]].concat()]
        {
            assert_eq!(TicketKeys::from_bytes(bad), None);
        }
    }

    #[test]
    fn a_ticket_is_small_however_many_addresses_there_are() {
        let many: Vec<Address> = (0..20).map(|n| Address::new(n, "user").unwrap()).collect();
        let keys = keys();
        let ticket = keys.issue(phone(1), &many, NOW, LIFE);
        assert!(ticket.len() <= limits::TICKET, "{}", ticket.len());
        assert_eq!(keys.admits(&ticket, phone(2), &many[15], NOW), Ok(()));
        assert_eq!(keys.admits(&ticket, phone(2), &many[16], NOW), Err(InvalidTicket::Mismatch));
        assert!(keys.issue(phone(1), [], NOW, LIFE).is_empty());
    }

    proptest! {
        #[test]
        fn a_changed_ticket_admits_nobody(place in 0usize..HEAD + 2 * TAG, flip in 1u8..) {
            let keys = keys();
            let mut ticket = keys.issue(phone(1), [&alice(), &bob()], NOW, LIFE);
            ticket[place] ^= flip;
            let admitted = [alice(), bob()].map(|user| keys.admits(&ticket, phone(u64::MAX), &user, NOW).is_ok());
            // A changed tag is of one address; the other's is as it was.
            let left = if place < HEAD { 0 } else { 1 };
            prop_assert_eq!(admitted.into_iter().filter(|a| *a).count(), left);
        }

        #[test]
        fn nobody_makes_one_without_the_key(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(keys().admits(&bytes, phone(u64::MAX), &alice(), 0).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = TicketKeys::from_bytes(&bytes);
        }
    }
}
