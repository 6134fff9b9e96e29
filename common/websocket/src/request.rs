//! The server's side of the upgrade: the request, and the answer if it is none.

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use crate::fields::{self, has, lists, only};
use crate::{ClientKey, SUBPROTOCOL, Upgrade};

/// Longest request in bytes. What browsers and proxies write takes one or two KiB.
pub const LONGEST_REQUEST: usize = 8192;

/// Whether a connection that begins with this byte may be a request.
pub fn may_begin(first: u8) -> bool {
    first == b'G'
}

/// Why a request is not answered with an upgrade. [`Refusal::encode`](Refusal::encode) writes the answer, after which the connection
/// is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP/1.1.
    #[error("the request is not HTTP/1.1")]
    NotHttp,
    /// More than [`LONGEST_REQUEST`] bytes, or more than 64 fields.
    #[error("the request is longer than 8192 bytes or has more than 64 fields")]
    TooLong,
    /// Another method than GET.
    #[error("only GET is answered here")]
    WrongMethod,
    /// Another path.
    #[error("there is nothing at this path")]
    NotFound,
    /// No Host, or several.
    #[error("the request needs one Host")]
    NoHost,
    /// With a body.
    #[error("the request may not have a body")]
    Body,
    /// No upgrade to WebSocket is asked for.
    #[error(
        "only WebSocket is spoken here: the request needs `Connection: Upgrade` and `Upgrade: websocket`"
    )]
    NoUpgrade,
    /// Another version of WebSocket than 13.
    #[error("the request needs `Sec-WebSocket-Version: 13`")]
    WrongVersion,
    /// No key, or none of 16 bytes.
    #[error("the request needs one Sec-WebSocket-Key of 16 bytes in base64")]
    BadKey,
}

/// Finds the request at the start of `bytes`: what to answer and how many bytes it took, or none while it is not whole. `path` is where
/// WebSocket is served, [`PATH`](crate::PATH) in general; a query behind it is passed over.
///
/// What is not whole is shorter than [`LONGEST_REQUEST`], so that a caller never keeps more. Origin is not looked at: what a page of
/// another site can send is no more than anyone can, since tokens come in HELLO and not in cookies.
///
/// # Errors
/// [`Refusal`]; it says what the answer is.
pub fn decode_request(bytes: &[u8], path: &str) -> Result<Option<(Upgrade, usize)>, Refusal> {
    let mut headers = [EMPTY_HEADER; fields::MOST];
    let mut request = Request::new(&mut headers);
    let seen = &bytes[..bytes.len().min(LONGEST_REQUEST)];
    match request.parse(seen) {
        Ok(Status::Complete(used)) => Ok(Some((check(&request, path)?, used))),
        Ok(Status::Partial) if bytes.len() < LONGEST_REQUEST => Ok(None),
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => Err(Refusal::TooLong),
        Err(_) => Err(Refusal::NotHttp),
    }
}

fn check(request: &Request<'_, '_>, path: &str) -> Result<Upgrade, Refusal> {
    let headers: &[Header<'_>] = request.headers;
    if request.version != Some(1) {
        return Err(Refusal::NotHttp);
    }
    if request.method != Some("GET") {
        return Err(Refusal::WrongMethod);
    }
    if request.path.and_then(|asked| asked.split('?').next()) != Some(path) {
        return Err(Refusal::NotFound);
    }
    if only(headers, "host").is_none() {
        return Err(Refusal::NoHost);
    }
    let length = "content-length";
    if has(headers, "transfer-encoding") || (has(headers, length) && only(headers, length) != Some(b"0")) {
        return Err(Refusal::Body);
    }
    if !lists(headers, "connection", "upgrade") || !lists(headers, "upgrade", "websocket") {
        return Err(Refusal::NoUpgrade);
    }
    if only(headers, "sec-websocket-version") != Some(b"13") {
        return Err(Refusal::WrongVersion);
    }
    let key = only(headers, "sec-websocket-key").and_then(ClientKey::from_header).ok_or(Refusal::BadKey)?;
    Ok(Upgrade::new(&key, lists(headers, "sec-websocket-protocol", SUBPROTOCOL)))
}
