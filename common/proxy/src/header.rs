//! What a header says.

use std::net::SocketAddr;

/// A whole header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The version it was written in.
    pub version: Version,
    /// Whose connection it is; none if the proxy speaks for itself, as in a health check (LOCAL), or does not say (UNKNOWN,
    /// UNSPEC, a UNIX socket). The connection's own addresses count then.
    pub addresses: Option<Addresses>,
}

impl Header {
    /// The address the client has connected from, as the proxy wrote it: an IPv4 address mapped into IPv6 is left so.
    pub fn source(&self) -> Option<SocketAddr> {
        self.addresses.map(|addresses| addresses.source)
    }
}

/// Both ends of the connection that the proxy has accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// Where the client has connected to.
    pub destination: SocketAddr,
}

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
