//! From payloads to frames.

use crate::decoder::{CLOSE, LAST_PIECE, LENGTH_16, LENGTH_64, MASKED, PING, PONG};
use crate::{CloseCode, Mask, control, mask};

const BINARY: u8 = 2;

/// Most bytes of a head.
const MAX_HEAD: usize = 14;

/// The head of a frame, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    bytes: [u8; MAX_HEAD],
    len: u8,
}

impl FrameHead {
    /// For a whole binary message with a payload of this length, from a server.
    pub fn of_server(length: usize) -> FrameHead {
        FrameHead::new(BINARY, length, None)
    }

    /// The same from a client, whose payload follows under this mask.
    pub fn of_client(length: usize, mask: Mask) -> FrameHead {
        FrameHead::new(BINARY, length, Some(mask))
    }

    fn new(opcode: u8, length: usize, mask: Option<Mask>) -> FrameHead {
        let mut head = FrameHead { bytes: [0; MAX_HEAD], len: 0 };
        let masked = if mask.is_some() { MASKED } else { 0 };
        head.push(&[LAST_PIECE | opcode]);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < LENGTH_16 => head.push(&[masked | short]),
            (_, Ok(middle)) => {
                head.push(&[masked | LENGTH_16]);
                head.push(&middle.to_be_bytes());
            }
            _ => {
                head.push(&[masked | LENGTH_64]);
                head.push(&(length as u64).to_be_bytes());
            }
        }
        head.push(mask.as_ref().map_or(&[], |mask| mask.as_slice()));
        head
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl AsRef<[u8]> for FrameHead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Appends a whole binary message; `mask` is none from a server.
pub fn encode_data(payload: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    encode(BINARY, payload, mask, out);
}

/// Appends a ping. Of a payload beyond 125 bytes, as much as is allowed.
pub fn encode_ping(payload: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    encode(PING, &payload[..payload.len().min(control::LONGEST)], mask, out);
}

/// Appends the answer to a ping with this payload.
pub fn encode_pong(payload: &[u8], mask: Option<Mask>, out: &mut Vec<u8>) {
    encode(PONG, &payload[..payload.len().min(control::LONGEST)], mask, out);
}

/// Appends a close frame, after which nothing may follow.
pub fn encode_close(code: CloseCode, mask: Option<Mask>, out: &mut Vec<u8>) {
    encode(CLOSE, &code.number().to_be_bytes(), mask, out);
}

fn encode(opcode: u8, payload: &[u8], key: Option<Mask>, out: &mut Vec<u8>) {
    out.extend_from_slice(FrameHead::new(opcode, payload.len(), key).as_ref());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mut key) = key {
        mask(&mut out[start..], &mut key);
    }
}
