//! What can be wrong with a header.

/// Why bytes are no PROXY header. There is no way to go on after one: the connection is closed without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The first bytes are those of neither version.
    #[error(
        "the connection does not start with a PROXY header; it is wanted from every connection of a trusted proxy"
    )]
    NoHeader,
    /// Version 1: no end of line within its longest length.
    #[error("the line of a PROXY header (version 1) is longer than 107 bytes")]
    LineTooLong,
    /// Version 1: neither TCP4, TCP6 nor UNKNOWN, or not `source destination port port`.
    #[error(
        "the line of a PROXY header (version 1) is not `PROXY TCP4|TCP6|UNKNOWN source destination port port`"
    )]
    BadLine,
    /// The binary header is of another version than 2.
    #[error("a binary PROXY header of version {0}; only 2 is known")]
    UnknownVersion(u8),
    /// Version 2: neither LOCAL nor PROXY.
    #[error("command {0} of a PROXY header (version 2); only LOCAL (0) and PROXY (1) are known")]
    UnknownCommand(u8),
    /// Version 2: a family or a transport that the specification does not have.
    #[error("family and transport {0:#04x} of a PROXY header (version 2) do not exist")]
    UnknownFamily(u8),
    /// Version 2: less than the addresses of its family.
    #[error("a PROXY header (version 2) of {length} bytes is too short for its addresses of {needed}")]
    TooShort {
        /// What the header says follows its first 16 bytes.
        length: usize,
        /// What the addresses take.
        needed: usize,
    },
    /// Version 2: more than is read.
    #[error("a PROXY header (version 2) of {length} bytes is beyond the limit of {limit}")]
    TooLong {
        /// What the header says follows its first 16 bytes.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
}
