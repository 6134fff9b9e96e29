//! The client protocol's frame codec, without sockets.
//!
//! A connection opens with a [preface](decode_preface) of four bytes from the device, then carries frames both ways:
//! `type: u8 | length: varint | body`. [`decode`] finds one frame at a time in the bytes that have come so far and refuses a
//! type or a length before anything is kept for it; [`encode`] and [`EncodedPush`] append frames to a buffer. Bodies are the
//! messages of `proto/longline/client/v1`; the whole protocol is documented in `proto/README.md`.

mod decode;
mod encode;
mod error;
mod frame;
mod preface;
mod push;
mod scan;
mod varint;

pub use decode::{FrameRef, decode};
pub use encode::{Body, encode, encode_empty};
pub use error::{EncodeError, WireError};
pub use frame::{FrameType, Limits, Sender};
pub use preface::{Mode, PREFACE, PREFACE_LEN, VERSION, decode_preface};
pub use push::{EncodedPush, PushHead, encode_push, encode_push_message};
