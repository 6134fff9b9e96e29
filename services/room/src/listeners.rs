//! The sockets on which devices connect.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::EngineConfig;

/// Connections that wait to be accepted, for each shard.
const BACKLOG: i32 = 4096;

/// One listening socket for each shard, all on the same address: the kernel spreads the connections (`SO_REUSEPORT`).
pub struct Listeners {
    pub(crate) sockets: Vec<TcpListener>,
    address: SocketAddr,
}

impl Listeners {
    /// Listens on the address, which gets a free port if its port is 0.
    ///
    /// # Errors
    /// As of `bind`; also if another process listens there with `SO_REUSEPORT`, whose connections we would share.
    pub fn bind(address: SocketAddr, config: &EngineConfig) -> io::Result<Listeners> {
        if address.port() != 0 {
            open(address, false)?;
        }
        let first = open(address, true)?;
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..config.shard_count() {
            sockets.push(open(address, true)?);
        }
        for socket in &sockets {
            socket2::SockRef::from(socket).listen(BACKLOG)?;
        }
        Ok(Listeners { sockets, address })
    }

    /// Where devices really connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }
}

/// A bound socket that does not listen yet. Accepted connections inherit that small writes are sent at once.
fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_a_socket_on_one_port_that_nobody_else_gets() {
        let config = EngineConfig { shards: 3, ..EngineConfig::default() };
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
        let address = listeners.addresses()[0];
        assert_eq!(listeners.sockets.len(), 3);
        assert!(listeners.sockets.iter().all(|s| s.local_addr().unwrap() == address));
        assert_ne!(address.port(), 0);
        let taken = Listeners::bind(address, &config).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
