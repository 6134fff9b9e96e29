//! The first bytes of every payload: they say whose it is and when it was due.

use crate::Micros;

/// What a payload was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A message to one user.
    Unicast,
    /// One payload for several users, each with a message of its own; its `sequence` is the batch's number.
    Batch,
    /// A message to all users; its `sequence` is the broadcast's number.
    Broadcast,
    /// Data from a device.
    Uplink,
}

/// The header of a payload.
///
/// On the wire, numbers with the lowest byte first: magic (4 bytes), kind, check, agent (2), run (4), user (4), sequence (8), due (8).
/// The check is over all the others, so that a damaged header is not taken for another message's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The run and leg that it belongs to.
    pub run: u32,
    /// The agent whose ledger knows it.
    pub agent: u16,
    /// What it is.
    pub kind: Kind,
    /// The number of the user it is for, or from (uplink); of no meaning in a batch or a broadcast.
    pub user: u32,
    /// Its number: given by the agent's ledger (unicast, batch), the controller (broadcast), or the device (uplink).
    pub sequence: u64,
    /// When it was to be sent; latencies count from here.
    pub due: Micros,
}

const MAGIC: [u8; 4] = *b"LLT1";
const CHECK: usize = 5;
/// What payloads are filled up with: printable, so that a log of a payload can be read.
const FILLER: u8 = b'.';

impl Header {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// Writes it.
    pub fn write(&self, out: &mut [u8; Header::LEN]) {
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = match self.kind {
            Kind::Unicast => 1,
            Kind::Broadcast => 2,
            Kind::Uplink => 3,
            Kind::Batch => 4,
        };
        out[CHECK] = 0;
        out[6..8].copy_from_slice(&self.agent.to_le_bytes());
        out[8..12].copy_from_slice(&self.run.to_le_bytes());
        out[12..16].copy_from_slice(&self.user.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.due.to_le_bytes());
        out[CHECK] = check(out);
    }

    /// Reads it from the beginning of a payload; `None` if there is none or it is damaged.
    pub fn read(payload: &[u8]) -> Option<Header> {
        let bytes: &[u8; Header::LEN] = payload.first_chunk()?;
        if bytes[0..4] != MAGIC || check(bytes) != bytes[CHECK] {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Unicast,
            2 => Kind::Broadcast,
            3 => Kind::Uplink,
            4 => Kind::Batch,
            _ => return None,
        };
        Some(Header {
            run: u32::from_le_bytes(part(bytes, 8)),
            agent: u16::from_le_bytes(part(bytes, 6)),
            kind,
            user: u32::from_le_bytes(part(bytes, 12)),
            sequence: u64::from_le_bytes(part(bytes, 16)),
            due: u64::from_le_bytes(part(bytes, 24)),
        })
    }

    /// Makes `out` a payload of `len` bytes (at least [`Header::LEN`]) that begins with the header.
    pub fn payload(&self, len: usize, out: &mut Vec<u8>) {
        out.clear();
        out.resize(len.max(Header::LEN), FILLER);
        if let Some(start) = out.first_chunk_mut() {
            self.write(start);
        }
    }
}

fn part<const N: usize>(bytes: &[u8; Header::LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// A sum in which the place of a byte counts too. The check's own place is left out.
fn check(bytes: &[u8; Header::LEN]) -> u8 {
    let words = [0, 8, 16, 24].map(|at| u64::from_le_bytes(part(bytes, at)));
    let own = 0xff_u64 << (CHECK * 8);
    let sum = words.iter().skip(1).fold(mixed(words[0] & !own), |sum, word| mixed(sum ^ word));
    (sum >> 56) as u8
}

/// Lets every bit change about half of the top bits.
fn mixed(word: u64) -> u64 {
    (word ^ (word >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = Header> {
        let kinds =
            prop_oneof![Just(Kind::Unicast), Just(Kind::Batch), Just(Kind::Broadcast), Just(Kind::Uplink)];
        (any::<u32>(), any::<u16>(), kinds, any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
            |(run, agent, kind, user, sequence, due)| Header { run, agent, kind, user, sequence, due },
        )
    }

    proptest! {
        #[test]
        fn reads_what_was_written(header in headers(), len in 0_usize..200) {
            let mut payload = vec![7; 3];
            header.payload(len, &mut payload);
            prop_assert_eq!(payload.len(), len.max(Header::LEN));
            prop_assert_eq!(Header::read(&payload), Some(header));
        }

        #[test]
        fn reads_nothing_from_anything_else(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(Header::read(&bytes), None);
        }
    }

    #[test]
    fn a_damaged_header_is_nearly_always_seen() {
        let header = Header {
            run: 7,
            agent: 3,
            kind: Kind::Unicast,
            user: 12_345,
            sequence: 99,
            due: 1_790_000_000_000_000,
        };
        let mut payload = Vec::new();
        header.payload(64, &mut payload);
        let mut unseen = 0;
        for bit in 0..Header::LEN * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            unseen += usize::from(Header::read(&payload).is_some());
            payload[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(unseen <= 4, "{unseen} of 256 flipped bits went unseen");
        assert_eq!(Header::read(&payload[..Header::LEN - 1]), None, "too short");
    }
}
