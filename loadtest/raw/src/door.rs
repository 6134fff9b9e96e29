//! A port on which connections come in.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Connections accepted in one turn.
const ACCEPTS: usize = 256;
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket. No failure to accept ends it.
pub(crate) struct Door {
    listener: TcpListener,
    /// There may be more connections: from this time on.
    accept_at: Option<Instant>,
}

impl Door {
    /// Listens on the address, which gets a free port if its port is 0. Accepted connections inherit that small writes are
    /// sent at once.
    pub(crate) fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Door> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Door { listener, accept_at: None })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The poll says that connections wait.
    pub(crate) fn knock(&mut self) {
        self.accept_at.get_or_insert_with(Instant::now);
    }

    /// When to call [`Door::accept`] at the latest.
    pub(crate) fn accept_at(&self) -> Option<Instant> {
        self.accept_at
    }

    /// Takes the connections that wait, up to a number.
    pub(crate) fn accept(&mut self, mut take: impl FnMut(TcpStream)) {
        if self.accept_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => take(stream),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.accept_at = None;
                        return;
                    }
                    // The connection was gone before it was accepted.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        tracing::warn!(%error, "cannot accept connections");
                        self.accept_at = Some(Instant::now() + PAUSE);
                        return;
                    }
                },
            }
        }
    }
}
