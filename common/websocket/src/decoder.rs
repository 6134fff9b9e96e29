//! From frames to the bytes they carry.

use crate::control::{self, Gathered, Kind};
use crate::mask::mask;
use crate::{Control, Mask, WebSocketError};

/// A side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Side {
    /// Masks what it sends.
    Client,
    /// Does not.
    Server,
}

/// Takes one direction of a connection apart, in whatever pieces it comes. Keeps no payload: only where it is (24 bytes), and a control
/// frame (at most 125 bytes, boxed) while that has come in part.
#[derive(Debug)]
pub struct Decoder {
    /// Payload of this frame that has not come; while its head comes, the length as far as it is known.
    left: u64,
    /// What has come of a control frame that did not come in one piece.
    gathered: Option<Box<Gathered>>,
    mask: Mask,
    step: Step,
    /// Bytes of the head that have not come, after its first two.
    head_left: u8,
    frame: Frame,
    sender: Sender,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Step {
    /// The first byte of a frame.
    First,
    /// The second.
    Second,
    /// The rest of its head.
    Head,
    /// Its payload.
    Payload,
    /// Nothing: the connection is closed or was found faulty.
    Ended,
}

/// The kind of the frame that comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Frame {
    Data,
    Control(Kind),
}

/// Who sends, and whether it is within a message whose last piece has not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sender(u8);

/// What was found: payload at a place, or a control frame.
enum Found {
    Data(usize),
    Control(Control),
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) const LAST_PIECE: u8 = 0x80;
pub(crate) const MASKED: u8 = 0x80;
pub(crate) const LENGTH_16: u8 = 126;
pub(crate) const LENGTH_64: u8 = 127;
const MASK_LEN: u8 = 4;

impl Decoder {
    /// For what `sender` sends after the upgrade.
    pub fn new(sender: Side) -> Decoder {
        Decoder {
            left: 0,
            gathered: None,
            mask: [0; 4],
            step: Step::First,
            head_left: 0,
            frame: Frame::Data,
            sender: Sender::new(sender),
        }
    }

    /// Takes the next bytes of the connection, all of them: moves the payload among them to their front, without its mask, and says how
    /// much that is. `controls` hears of control frames, in their order. What comes after a close frame is passed over.
    ///
    /// # Errors
    /// If the bytes are not WebSocket; all that comes after is passed over.
    pub fn decode(
        &mut self,
        bytes: &mut [u8],
        mut controls: impl FnMut(Control),
    ) -> Result<usize, WebSocketError> {
        let (mut at, mut payload) = (0, 0);
        while let Some(found) = self.next(bytes, &mut at).inspect_err(|_| self.step = Step::Ended)? {
            match found {
                Found::Data(length) => {
                    bytes.copy_within(at - length..at, payload);
                    payload += length;
                }
                Found::Control(control) => controls(control),
            }
        }
        Ok(payload)
    }

    /// Whether a close frame has come, or an error.
    pub fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    /// Goes on at `at`: payload that ends there then, or a control frame; none if there are no more bytes.
    fn next(&mut self, bytes: &mut [u8], at: &mut usize) -> Result<Option<Found>, WebSocketError> {
        while self.step != Step::Ended {
            if self.step == Step::Payload {
                let rest = &mut bytes[*at..];
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                let piece = &mut rest[..here];
                *at += here;
                if let Some(found) = self.payload(piece)? {
                    return Ok(Some(found));
                }
                if self.step == Step::Payload {
                    return Ok(None);
                }
            } else {
                let Some(&byte) = bytes.get(*at) else { return Ok(None) };
                *at += 1;
                self.head(byte)?;
            }
        }
        Ok(None)
    }

    /// Takes a byte of the head.
    fn head(&mut self, byte: u8) -> Result<(), WebSocketError> {
        match self.step {
            Step::First => self.first(byte),
            Step::Second => self.second(byte),
            _ => self.further(byte),
        }
    }

    fn first(&mut self, byte: u8) -> Result<(), WebSocketError> {
        let (last, opcode) = (byte & LAST_PIECE != 0, byte & 0xf);
        if byte & 0x70 != 0 {
            return Err(WebSocketError::ReservedBit);
        }
        self.frame = match opcode {
            CONTINUATION if !self.sender.is_within() => return Err(WebSocketError::NothingToContinue),
            BINARY if self.sender.is_within() => return Err(WebSocketError::NotContinued),
            CONTINUATION | BINARY => {
                self.sender.set_within(!last);
                Frame::Data
            }
            TEXT => return Err(WebSocketError::Text),
            CLOSE => Frame::Control(Kind::Close),
            PING => Frame::Control(Kind::Ping),
            PONG => Frame::Control(Kind::Pong),
            _ => return Err(WebSocketError::UnknownOpcode(opcode)),
        };
        if self.frame != Frame::Data && !last {
            return Err(WebSocketError::BadControl);
        }
        self.step = Step::Second;
        Ok(())
    }

    fn second(&mut self, byte: u8) -> Result<(), WebSocketError> {
        let mask_len = match (self.sender.side(), byte & MASKED != 0) {
            (Side::Client, true) => MASK_LEN,
            (Side::Server, false) => 0,
            (Side::Client, false) => return Err(WebSocketError::Unmasked),
            (Side::Server, true) => return Err(WebSocketError::Masked),
        };
        let length = byte & !MASKED;
        if self.frame != Frame::Data && usize::from(length) > control::LONGEST {
            return Err(WebSocketError::BadControl);
        }
        let (left, length_len) = match length {
            LENGTH_16 => (0, 2),
            LENGTH_64 => (0, 8),
            short => (u64::from(short), 0),
        };
        (self.left, self.head_left) = (left, length_len + mask_len);
        self.step = if self.head_left == 0 { Step::Payload } else { Step::Head };
        Ok(())
    }

    /// Length, then mask. A length is refused with the first byte that shows that it is not in its shortest form.
    fn further(&mut self, byte: u8) -> Result<(), WebSocketError> {
        let mask_len = if self.sender.side() == Side::Client { MASK_LEN } else { 0 };
        if let Some(length_left) = self.head_left.checked_sub(mask_len + 1) {
            self.left = self.left << 8 | u64::from(byte);
            let bad = match length_left {
                7 => self.left > 0x7f,
                // Only one of 8 bytes gets here with two of them left: its first six say whether two would have done.
                2 => self.left == 0,
                0 => self.left < u64::from(LENGTH_16),
                _ => false,
            };
            if bad {
                return Err(WebSocketError::BadLength);
            }
        } else {
            self.mask[usize::from(MASK_LEN - self.head_left)] = byte;
        }
        self.head_left -= 1;
        if self.head_left == 0 {
            self.step = Step::Payload;
        }
        Ok(())
    }

    /// Takes a piece of the frame's payload.
    fn payload(&mut self, piece: &mut [u8]) -> Result<Option<Found>, WebSocketError> {
        if self.sender.side() == Side::Client {
            mask(piece, &mut self.mask);
        }
        self.left -= piece.len() as u64;
        if self.left == 0 {
            self.step = Step::First;
        }
        match self.frame {
            Frame::Data => Ok((!piece.is_empty()).then_some(Found::Data(piece.len()))),
            Frame::Control(kind) => Ok(self.gather(kind, piece)?.map(Found::Control)),
        }
    }

    fn gather(&mut self, kind: Kind, piece: &[u8]) -> Result<Option<Control>, WebSocketError> {
        if self.left > 0 {
            self.gathered.get_or_insert_with(|| Box::new(Gathered::new())).push(piece);
            return Ok(None);
        }
        let control = match self.gathered.take() {
            Some(mut gathered) => {
                gathered.push(piece);
                gathered.finish(kind)?
            }
            None => Gathered::of(piece).finish(kind)?,
        };
        if kind == Kind::Close {
            self.step = Step::Ended;
        }
        Ok(Some(control))
    }
}

impl Sender {
    const WITHIN: u8 = 2;

    const fn new(side: Side) -> Sender {
        Sender(side as u8)
    }

    fn side(self) -> Side {
        if self.0 & 1 == Side::Client as u8 { Side::Client } else { Side::Server }
    }

    fn is_within(self) -> bool {
        self.0 & Sender::WITHIN != 0
    }

    fn set_within(&mut self, within: bool) {
        self.0 = self.side() as u8 | if within { Sender::WITHIN } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_is_24_bytes() {
        assert_eq!(size_of::<Decoder>(), 24);
        assert_eq!(size_of::<Option<Decoder>>(), 24);
    }
}
