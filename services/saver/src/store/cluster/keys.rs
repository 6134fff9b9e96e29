//! Names of the keys in Redis. All keys of a slot share a hash tag (S3).

use longline_types::{Address, Slot};

/// The run id of a Redis process that was seen with all slots filled: gone or another's if it has lost its data. Only a hint
/// that saves looking at all slots.
pub(super) const CANARY: &str = "ll:filled";

/// The slot's `filled` mark: the run id of the Redis process that holds all of it (S4), or `work:<token>` while it is filled.
pub(super) fn slot_mark(slot: Slot) -> String {
    format!("ll:{{{slot}}}:f")
}

/// The same for one address, while its slot is not filled.
pub(super) fn address_mark(address: &Address) -> String {
    of(address, 'a')
}

/// Hash: `m<id>` is a waiting message, `c<collapse key>` the id of the message that has it. Ids are 16 hexadecimal digits.
pub(super) fn inbox(address: &Address) -> String {
    of(address, 'i')
}

/// The address's broadcast cursor, cached (S8).
pub(super) fn cursor(address: &Address) -> String {
    of(address, 'b')
}

/// Hash: id → state and expiry of messages that another one pushed out, until the database knows.
pub(super) fn endings(slot: Slot) -> String {
    format!("ll:{{{slot}}}:e")
}

/// Hash: id → row that the database does not have yet (S2). Not a list, so that savers may drain it side by side.
pub(super) fn unflushed(slot: Slot) -> String {
    format!("ll:{{{slot}}}:u")
}

/// The message that was stored `fast` under an idempotency key, until the database surely has it.
pub(super) fn idempotency(address: &Address, key: &str) -> String {
    // The length keeps apart what the parts run together.
    format!("{}:{}:{key}", of(address, 'k'), address.user.as_str().len())
}

/// State in which a `fast` message ended, for a while after; followed by the id.
pub(super) fn tombstones(slot: Slot) -> String {
    format!("ll:{{{slot}}}:t:")
}

fn of(address: &Address, kind: char) -> String {
    format!("ll:{{{}}}:{kind}:{}:{}", address.slot(), address.product, address.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_slot_share_a_hash_tag_s3() {
        let address = Address::new(7, "al:ice").unwrap();
        let tag = format!("ll:{{{}}}:", address.slot());
        let slot = address.slot();
        let keys =
            [slot_mark(slot), address_mark(&address), inbox(&address), cursor(&address), endings(slot)];
        assert!(keys.iter().all(|k| k.starts_with(&tag)));
        assert!(
            [unflushed(slot), idempotency(&address, "k"), tombstones(slot)]
                .iter()
                .all(|k| k.starts_with(&tag))
        );
    }

    #[test]
    fn names_that_run_together_stay_apart() {
        let (a, b) = (Address::new(7, "a:b").unwrap(), Address::new(7, "a").unwrap());
        let tail = |k: String| k.split_once('}').unwrap().1.to_owned();
        assert_ne!(tail(idempotency(&a, "c")), tail(idempotency(&b, "b:c")));
    }
}
