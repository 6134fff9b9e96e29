//! What a server answers.

use crate::accept::ACCEPT_LEN;
use crate::{ClientKey, Refusal, SUBPROTOCOL};

/// A request that is valid, and its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    accept: [u8; ACCEPT_LEN],
    subprotocol: bool,
}

impl Upgrade {
    pub(crate) fn new(key: &ClientKey, subprotocol: bool) -> Upgrade {
        Upgrade { accept: key.accept(), subprotocol }
    }

    /// Whether the client offered [`SUBPROTOCOL`].
    pub fn subprotocol(&self) -> bool {
        self.subprotocol
    }

    /// Appends the answer; frames follow it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&self.accept);
        if self.subprotocol {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(SUBPROTOCOL.as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
    }
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Refusal::NotHttp | Refusal::NoHost | Refusal::Body | Refusal::BadKey => 400,
            Refusal::NotFound => 404,
            Refusal::WrongMethod => 405,
            Refusal::NoUpgrade | Refusal::WrongVersion => 426,
            Refusal::TooLong => 431,
        }
    }

    /// Appends the answer, whose body says what is wrong; the connection is closed after it.
    pub fn encode(self, out: &mut Vec<u8>) {
        let (phrase, field) = match self.status() {
            404 => ("Not Found", ""),
            405 => ("Method Not Allowed", "Allow: GET\r\n"),
            426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            431 => ("Request Header Fields Too Large", ""),
            _ => ("Bad Request", ""),
        };
        let options = if self.status() == 426 { "Upgrade, close" } else { "close" };
        let (status, text) = (self.status(), self.to_string());
        let answer = format!(
            "HTTP/1.1 {status} {phrase}\r\n{field}Connection: {options}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{text}\n",
            text.len() + 1
        );
        out.extend_from_slice(answer.as_bytes());
    }
}
