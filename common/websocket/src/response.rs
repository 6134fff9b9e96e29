//! The client's side of the upgrade: the request it writes, and the answer it reads.

use httparse::{EMPTY_HEADER, Header, Response, Status};

use crate::fields::{self, has, lists, only};
use crate::{ClientKey, SUBPROTOCOL};

/// Longest answer that is read, in bytes, without the body of a refusal.
pub const LONGEST_RESPONSE: usize = 8192;

/// The host or the path of a request cannot stand in one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the host or the path is empty, or has spaces or control characters")]
pub struct InvalidTarget;

/// Why an answer is no upgrade. The connection is of no use then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadResponse {
    /// Not HTTP/1.1, or too long.
    #[error("the answer is not HTTP/1.1 or is longer than 8192 bytes")]
    NotHttp,
    /// Another status than 101.
    #[error("the server refuses the upgrade to WebSocket with status {0}")]
    Status(u16),
    /// The fields of an upgrade are not there, or do not fit the request's.
    #[error(
        "the answer to the upgrade is not one: its Upgrade, Connection or Sec-WebSocket-Accept does not fit"
    )]
    NotAccepted,
    /// The server chose an extension or a subprotocol that was not offered.
    #[error("the server speaks an extension or a subprotocol that was not offered")]
    NotOffered,
}

/// Appends the request for an upgrade, which offers [`SUBPROTOCOL`]. `host` is the name of the server, with its port if that is not the
/// scheme's own; `path` is [`PATH`](crate::PATH) in general.
///
/// # Errors
/// If host or path cannot stand in a request; nothing is written then.
pub fn encode_request(
    host: &str,
    path: &str,
    key: &ClientKey,
    out: &mut Vec<u8>,
) -> Result<(), InvalidTarget> {
    let stands = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if !stands(host) || !stands(path) || !path.starts_with('/') {
        return Err(InvalidTarget);
    }
    for part in ["GET ", path, " HTTP/1.1\r\nHost: ", host] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(
        b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
    );
    out.extend_from_slice(key.as_bytes());
    for part in ["\r\nSec-WebSocket-Protocol: ", SUBPROTOCOL, "\r\n\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// Finds the answer to a request with this key at the start of `bytes`: how many bytes it took, or none while it is not whole.
///
/// What is not whole is shorter than [`LONGEST_RESPONSE`].
///
/// # Errors
/// [`BadResponse`] if it is no upgrade.
pub fn decode_response(bytes: &[u8], key: &ClientKey) -> Result<Option<usize>, BadResponse> {
    let mut headers = [EMPTY_HEADER; fields::MOST];
    let mut response = Response::new(&mut headers);
    let seen = &bytes[..bytes.len().min(LONGEST_RESPONSE)];
    match response.parse(seen) {
        Ok(Status::Complete(used)) => check(&response, key).map(|()| Some(used)),
        Ok(Status::Partial) if bytes.len() < LONGEST_RESPONSE => Ok(None),
        Ok(Status::Partial) | Err(_) => Err(BadResponse::NotHttp),
    }
}

fn check(response: &Response<'_, '_>, key: &ClientKey) -> Result<(), BadResponse> {
    let headers: &[Header<'_>] = response.headers;
    match (response.version, response.code) {
        (Some(1), Some(101)) => {}
        (_, Some(code)) if code != 101 => return Err(BadResponse::Status(code)),
        _ => return Err(BadResponse::NotHttp),
    }
    let accepted = lists(headers, "upgrade", "websocket")
        && lists(headers, "connection", "upgrade")
        && only(headers, "sec-websocket-accept") == Some(&key.accept());
    if !accepted {
        return Err(BadResponse::NotAccepted);
    }
    let chosen = "sec-websocket-protocol";
    if has(headers, "sec-websocket-extensions")
        || (has(headers, chosen) && only(headers, chosen) != Some(SUBPROTOCOL.as_bytes()))
    {
        return Err(BadResponse::NotOffered);
    }
    Ok(())
}
