//! Non-blocking connects from chosen source addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Receive buffer of a device that reads slowly, so that its room notices soon.
const SLOW_BUFFER: usize = 4 * 1024;

/// Begins to connect to `room`, from `source` if there is one.
///
/// # Errors
/// What the kernel says: no more files, no free port, nobody there.
pub(crate) fn connect(room: SocketAddr, source: Option<IpAddr>, slow: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(room), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if slow {
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
    }
    if let Some(source) = source {
        // Without it a port is taken for this address alone, whatever room it leads to: 28,000 connections would be the most.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&room.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::trouble::Trouble;

    #[test]
    fn it_connects_from_the_source() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let room = listener.local_addr().unwrap();
        let source: IpAddr = "127.3.2.1".parse().unwrap();
        for slow in [false, true] {
            let _stream = connect(room, Some(source), slow).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), source);
        }
        let _stream = connect(room, None, false).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), room.ip());
    }

    #[test]
    fn a_source_that_is_not_ours_is_an_error() {
        let room = "127.0.0.1:9".parse().unwrap();
        let error = connect(room, Some("192.0.2.1".parse().unwrap()), false).unwrap_err();
        assert_eq!(Trouble::of(&error), Trouble::Ports);
    }
}
