//! Control frames: small, whole, and allowed between the pieces of a message.

use crate::WebSocketError;
use crate::close;

/// Most bytes of a control frame's payload.
pub(crate) const LONGEST: usize = 125;

/// A control frame of the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// To be answered with [`encode_pong`](crate::encode_pong). If several came, answering the last is enough.
    Ping(Ping),
    /// The other side is there.
    Pong,
    /// The other side sends nothing after this; with its code, if it named one. To be answered with
    /// [`encode_close`](crate::encode_close), unless this is the answer, and then the connection ends.
    Close(Option<u16>),
}

/// What a ping carries and its pong has to repeat.
#[derive(Clone, Copy)]
pub struct Ping {
    bytes: [u8; LONGEST],
    len: u8,
}

impl AsRef<[u8]> for Ping {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for Ping {
    fn eq(&self, other: &Ping) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Ping {}

impl std::fmt::Debug for Ping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.as_ref())
    }
}

/// Which control frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ping,
    Pong,
    Close,
}

/// A control frame's payload while it comes.
#[derive(Debug)]
pub(crate) struct Gathered(Ping);

impl Gathered {
    pub(crate) const fn new() -> Gathered {
        Gathered(Ping { bytes: [0; LONGEST], len: 0 })
    }

    /// A payload that came in one piece.
    pub(crate) fn of(payload: &[u8]) -> Gathered {
        let mut gathered = Gathered::new();
        gathered.push(payload);
        gathered
    }

    /// Adds a piece. What goes beyond the longest payload, which a decoder does not let come, is left out.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let free = &mut self.0.bytes[usize::from(self.0.len)..];
        let count = piece.len().min(free.len());
        free[..count].copy_from_slice(&piece[..count]);
        self.0.len += count as u8;
    }

    /// The frame, once all of it is there.
    pub(crate) fn finish(&self, kind: Kind) -> Result<Control, WebSocketError> {
        match kind {
            Kind::Ping => Ok(Control::Ping(self.0)),
            Kind::Pong => Ok(Control::Pong),
            Kind::Close => Ok(Control::Close(close_code(self.0.as_ref())?)),
        }
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, WebSocketError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk().ok_or(WebSocketError::BadClose)?;
    let code = u16::from_be_bytes(*code);
    if !close::may_be_sent(code) {
        return Err(WebSocketError::BadClose);
    }
    std::str::from_utf8(reason).map_err(|_| WebSocketError::BadCloseText)?;
    Ok(Some(code))
}
