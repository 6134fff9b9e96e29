//! WebSocket (RFC 6455) as Longline uses it, both sides, without sockets.
//!
//! After the upgrade, the payloads of binary messages, one after the other, are the bytes of the client protocol; where a message
//! ends means nothing. Text is refused, and no extension is spoken, so nothing is compressed.
//!
//! A server reads the request with [`decode_request`] and answers with [`Upgrade::encode`] or [`Refusal::encode`]; a client asks
//! with [`encode_request`] and reads the answer with [`decode_response`]. From then on [`Decoder`] turns what comes into payload, in
//! place and without keeping any of it; [`FrameHead`] and the `encode` functions write frames.

mod accept;
mod close;
mod control;
mod decoder;
mod encode;
mod error;
mod fields;
mod mask;
mod request;
mod response;
mod upgrade;

pub use accept::ClientKey;
pub use close::CloseCode;
pub use control::{Control, Ping};
pub use decoder::{Decoder, Side};
pub use encode::{FrameHead, encode_close, encode_data, encode_ping, encode_pong};
pub use error::WebSocketError;
pub use mask::{Mask, mask};
pub use request::{LONGEST_REQUEST, Refusal, decode_request, may_begin};
pub use response::{BadResponse, InvalidTarget, LONGEST_RESPONSE, decode_response, encode_request};
pub use upgrade::Upgrade;

/// The path at which a room takes WebSocket connections.
pub const PATH: &str = "/v1/ws";

/// The subprotocol's name. A client may offer it and the server chooses it then; a connection without it is the same.
pub const SUBPROTOCOL: &str = "longline.v1";
