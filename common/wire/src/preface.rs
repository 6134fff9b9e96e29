//! The four bytes with which a device opens a connection.

use crate::WireError;

/// The version of the protocol that is spoken here.
pub const VERSION: u8 = 1;
/// Bytes of a preface.
pub const PREFACE_LEN: usize = 4;
/// What a device sends first, in plain mode.
pub const PREFACE: [u8; PREFACE_LEN] = [b'L', b'L', VERSION, Mode::Plain as u8];

/// How the bytes after the preface are wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// Not at all: frames follow.
    Plain = 0,
}

/// Reads a preface from the first bytes of a connection: none while bytes are missing, an error with the first byte that is
/// wrong. What follows it begins at [`PREFACE_LEN`].
pub fn decode_preface(bytes: &[u8]) -> Result<Option<Mode>, WireError> {
    if bytes.iter().take(2).any(|byte| *byte != b'L') {
        return Err(WireError::BadPreface);
    }
    match bytes.get(2) {
        Some(&version) if version != VERSION => return Err(WireError::UnsupportedVersion(version)),
        _ => {}
    }
    match bytes.get(3) {
        None => Ok(None),
        Some(0) => Ok(Some(Mode::Plain)),
        Some(&mode) => Err(WireError::UnsupportedMode(mode)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_taken_in_any_pieces() {
        for cut in 0..PREFACE_LEN {
            assert_eq!(decode_preface(&PREFACE[..cut]), Ok(None));
        }
        assert_eq!(decode_preface(b"LL\x01\x00\x01\xff"), Ok(Some(Mode::Plain)));
    }

    #[test]
    fn the_first_wrong_byte_is_refused_at_once() {
        assert_eq!(decode_preface(b"G"), Err(WireError::BadPreface));
        assert_eq!(decode_preface(b"LG"), Err(WireError::BadPreface));
        assert_eq!(decode_preface(b"LL\x02"), Err(WireError::UnsupportedVersion(2)));
        assert_eq!(decode_preface(b"LL\x01\x01"), Err(WireError::UnsupportedMode(1)));
    }
}
