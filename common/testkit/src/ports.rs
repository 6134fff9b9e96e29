//! Ports for servers that cannot be told to choose their own.

use std::net::{Ipv4Addr, TcpListener};

/// A loopback port that is free now. Somebody else may take it before its user does: whoever starts a server on it looks
/// whether that worked, and tries another port if not.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
