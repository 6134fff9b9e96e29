//! Records: a length (two bytes, the high one first), and as many bytes of ciphertext, the last 16 of them authentication.

use crate::NoiseError;
use crate::cipher::{Cipher, TAG_LEN};

/// Most bytes that the length of a record says. A reader keeps at most two more of a record that is not whole.
pub const LONGEST_RECORD: usize = u16::MAX as usize;

const HEAD_LEN: usize = 2;

/// Most payload that is written into one record: a reader with little memory has to keep whole records.
const PAYLOAD: usize = 16 * 1024;

/// A link after its handshake: a key and a counter for each direction. Records that were lost, damaged, repeated or put in another order
/// do not open.
pub struct Session {
    send: Cipher,
    receive: Cipher,
}

/// What was found in the bytes given to [`Session::open`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// How much payload stands at the front of the bytes now.
    pub payload: usize,
    /// How many of the bytes were taken; those behind are part of a record, and to be given again with what follows.
    pub used: usize,
}

impl Session {
    pub(crate) fn new(send: Cipher, receive: Cipher) -> Session {
        Session { send, receive }
    }

    /// Opens all records that are whole, and moves their payload to the front of `bytes`.
    ///
    /// # Errors
    /// With the first record that does not open; the connection is of no use then.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Opened, NoiseError> {
        let mut opened = Opened { payload: 0, used: 0 };
        while let Some((head, rest)) = bytes[opened.used..].split_first_chunk_mut::<HEAD_LEN>() {
            let length = usize::from(u16::from_be_bytes(*head));
            if length < TAG_LEN {
                return Err(NoiseError::ShortRecord(length));
            }
            let Some(record) = rest.get_mut(..length) else { break };
            let payload = self.receive.open(record, &[])?;
            let start = opened.used + HEAD_LEN;
            bytes.copy_within(start..start + payload, opened.payload);
            opened.payload += payload;
            opened.used = start + length;
        }
        Ok(opened)
    }

    /// Appends the payload as records of at most 16 KiB; none if it is empty.
    ///
    /// # Errors
    /// [`NoiseError::Exhausted`] after 2⁶⁴ − 1 records, [`NoiseError::Library`] if there is no memory; the connection is of no use then.
    pub fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        for piece in payload.chunks(PAYLOAD) {
            out.extend_from_slice(&((piece.len() + TAG_LEN) as u16).to_be_bytes());
            let start = out.len();
            out.extend_from_slice(piece);
            let tag = self.send.seal(&mut out[start..], &[])?;
            out.extend_from_slice(&tag);
        }
        Ok(())
    }

    /// Bytes that a payload of this length takes on the wire.
    pub fn sealed_len(payload: usize) -> usize {
        payload + payload.div_ceil(PAYLOAD) * (HEAD_LEN + TAG_LEN)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_80_bytes() {
        assert_eq!(size_of::<Session>(), 80);
    }
}
