//! From bytes to a header of either version.

use crate::{Header, ProxyError, v1, v2};

/// Longest header of version 1, as the specification has it, with the end of its line.
pub const LONGEST_V1: usize = 107;

/// Longest header that is read. Version 2 allows 65,551 bytes, but says that proxies should stay within one packet; the addresses
/// take 52 with the fixed part, what proxies add to them (TLVs: the name asked for, the facts of TLS, an id) some hundreds.
pub const LONGEST: usize = 2048;

/// Whether bytes that begin with this one may be a header.
pub fn may_begin(first: u8) -> bool {
    first == v1::START[0] || first == v2::SIGNATURE[0]
}

/// Finds the header at the start of `bytes`: the header and how many bytes it took, or none while it is not whole.
///
/// What cannot become a header is an error with the first byte that tells; what is not whole is shorter than [`LONGEST`], so
/// that a caller never keeps more.
///
/// # Errors
/// [`ProxyError`]; the connection is of no use then.
pub fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    match bytes.first() {
        None => Ok(None),
        Some(_) if begins(bytes, v1::START) => v1::decode(bytes),
        Some(_) if begins(bytes, v2::SIGNATURE) => v2::decode(bytes),
        Some(_) => Err(ProxyError::NoHeader),
    }
}

/// Whether as much of `start` as there can be stands at the start of `bytes`.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}
