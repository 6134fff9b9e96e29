//! The sockets on which devices connect.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::EngineConfig;

/// Connections that wait to be accepted, for each shard and address.
const BACKLOG: i32 = 4096;
/// Most addresses.
const ADDRESSES: usize = 64;

/// A listening socket for each shard on each address: the kernel spreads the connections of an address over the shards
/// (`SO_REUSEPORT`).
pub struct Listeners {
    /// Those of each shard.
    pub(crate) sockets: Vec<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Listens on the addresses, at most 64; one with port 0 gets a free port. An IPv6 wildcard takes IPv4 as well, unless there
    /// is an IPv4 address among them.
    ///
    /// # Errors
    /// As of `bind`; also if another process listens there with `SO_REUSEPORT`, whose connections we would share.
    pub fn bind(addresses: &[SocketAddr], config: &EngineConfig) -> io::Result<Listeners> {
        if addresses.is_empty() || addresses.len() > ADDRESSES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "1 to 64 addresses are needed"));
        }
        let only_v6 = addresses.iter().any(SocketAddr::is_ipv4);
        let shards = usize::from(config.shard_count());
        let mut listeners = Listeners { sockets: Vec::new(), addresses: Vec::new() };
        listeners.sockets.resize_with(shards, Vec::new);
        for address in addresses {
            let group = group(*address, only_v6, shards)
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
            listeners.addresses.push(group[0].local_addr()?);
            for (shard, socket) in listeners.sockets.iter_mut().zip(group) {
                shard.push(socket);
            }
        }
        // Only when all are bound: nobody is to connect to a room that does not start.
        for socket in listeners.sockets.iter().flatten() {
            let socket = SockRef::from(socket);
            // Accepted connections inherit these, so that they cost them no call.
            if config.send_buffer_bytes > 0 {
                socket.set_send_buffer_size(config.send_buffer_bytes as usize)?;
            }
            socket.set_tcp_user_timeout(config.tcp_user_timeout())?;
            socket.listen(BACKLOG)?;
        }
        Ok(listeners)
    }

    /// Where devices really connect, in the order of the addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// As many bound sockets as there are shards, at least one.
fn group(address: SocketAddr, only_v6: bool, shards: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        open(address, only_v6, false)?;
    }
    let first = open(address, only_v6, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(open(address, only_v6, true)?);
    }
    Ok(sockets)
}

/// A bound socket that does not listen yet. Accepted connections inherit that small writes are sent at once.
fn open(address: SocketAddr, only_v6: bool, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn accepted_connections_inherit_the_user_timeout() {
        let config = EngineConfig { shards: 1, tcp_user_timeout_ms: 12_345, ..EngineConfig::default() };
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()], &config).unwrap();
        let _device = std::net::TcpStream::connect(listeners.addresses()[0]).unwrap();
        let listener = &listeners.sockets[0][0];
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let timeout = SockRef::from(&accepted).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_millis(12_345)));
    }

    #[test]
    fn every_shard_has_a_socket_on_one_port_that_nobody_else_gets() {
        let config = EngineConfig { shards: 3, ..EngineConfig::default() };
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()], &config).unwrap();
        let address = listeners.addresses()[0];
        assert_eq!(listeners.sockets.len(), 3);
        assert!(listeners.sockets.iter().flatten().all(|s| s.local_addr().unwrap() == address));
        assert_ne!(address.port(), 0);
        let taken = Listeners::bind(&[address], &config).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(taken.to_string().starts_with(&address.to_string()), "it says which: {taken}");
    }

    #[test]
    fn every_shard_listens_on_every_address() {
        let config = EngineConfig { shards: 2, ..EngineConfig::default() };
        let wanted = ["127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap());
        let listeners = Listeners::bind(&wanted, &config).unwrap();
        for shard in &listeners.sockets {
            let addresses: Vec<_> = shard.iter().map(|s| s.local_addr().unwrap()).collect();
            assert_eq!(addresses, listeners.addresses());
        }
        assert_eq!(listeners.addresses()[1].ip(), wanted[1].ip());
        assert!(Listeners::bind(&[], &config).is_err());
    }

    #[test]
    fn the_wildcards_of_both_families_may_share_a_port() {
        let config = EngineConfig { shards: 1, ..EngineConfig::default() };
        let Ok(v6) = Listeners::bind(&["[::]:0".parse().unwrap()], &config) else {
            return; // no IPv6 on this machine
        };
        let port = v6.addresses()[0].port();
        drop(v6);
        let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|a| a.parse().unwrap());
        assert_eq!(Listeners::bind(&both, &config).unwrap().addresses(), both);
    }
}
