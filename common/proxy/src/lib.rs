//! The PROXY protocol, versions 1 and 2, without sockets.
//!
//! A load balancer that forwards TCP says in a header before the first byte of the client whose connection it is:
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. [`decode`] finds that header in the bytes that have come so
//! far; [`encode_v1`] and [`encode_v2`] write one. Only proxies that are trusted may send it, or anyone could choose an address:
//! that is the caller's to check, before it looks.

mod decode;
mod encode;
mod error;
mod header;
mod v1;
mod v2;

pub use decode::{LONGEST, LONGEST_V1, decode, may_begin};
pub use encode::{encode_v1, encode_v2};
pub use error::ProxyError;
pub use header::{Addresses, Header, Version};
