//! The sockets of a shard, by connection index.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use super::paged::Paged;
use crate::session::Output;

/// Slices of one write.
const SLICES: usize = 16;

/// Every socket is registered once, for both directions, and stays so until it is closed (edge-triggered).
pub(crate) struct Sockets {
    sockets: Paged<Option<Socket>>,
}

pub(crate) struct Socket {
    stream: TcpStream,
    /// It took less than it was given; it is written to again when the poll says so.
    pub(crate) is_full: bool,
    /// It is in the list of sockets to read from.
    pub(crate) is_ready: bool,
    /// The other side sends no more: read until the end, however short the reads.
    pub(crate) ends: bool,
    /// It was told that nothing more comes.
    is_shut: bool,
}

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    /// This many bytes, and there may be more.
    Bytes(usize),
    /// This many bytes, and no more for now.
    Last(usize),
    /// Nothing for now.
    Nothing,
    /// The other side has closed.
    End,
    /// The connection is broken.
    Error,
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Took {
    /// This many bytes.
    Bytes(usize),
    /// Nothing: the socket is full.
    Full,
    /// The connection is broken.
    Error,
}

impl Sockets {
    pub(crate) fn new() -> Sockets {
        Sockets { sockets: Paged::new() }
    }

    /// Keeps the socket of a connection, and watches it.
    pub(crate) fn add(
        &mut self,
        index: u32,
        mut stream: TcpStream,
        token: Token,
        registry: &Registry,
    ) -> io::Result<()> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        *self.sockets.at(index) =
            Some(Socket { stream, is_full: false, is_ready: false, ends: false, is_shut: false });
        Ok(())
    }

    /// Moves a socket, in place of the one that is there, if there is one. It is to be read from: what came meanwhile may have been told
    /// under its old index.
    pub(crate) fn relocate(
        &mut self,
        from: u32,
        to: u32,
        token: Token,
        registry: &Registry,
    ) -> io::Result<()> {
        let moved = self.sockets.get_mut(from).and_then(Option::take);
        let mut moved = moved.ok_or(io::ErrorKind::NotConnected)?;
        registry.reregister(&mut moved.stream, token, Interest::READABLE | Interest::WRITABLE)?;
        moved.is_ready = true;
        *self.sockets.at(to) = Some(moved);
        Ok(())
    }

    /// Takes a socket out, to be watched by another shard.
    pub(crate) fn take(&mut self, index: u32, registry: &Registry) -> Option<Socket> {
        let mut socket = self.sockets.get_mut(index)?.take()?;
        // What cannot be unwatched is broken, which its next reader will find.
        let _ = registry.deregister(&mut socket.stream);
        Some(socket)
    }

    /// Keeps and watches a socket of another shard. It is to be read from: what came meanwhile nobody has been told.
    pub(crate) fn put(
        &mut self,
        index: u32,
        mut socket: Socket,
        token: Token,
        registry: &Registry,
    ) -> io::Result<()> {
        registry.register(&mut socket.stream, token, Interest::READABLE | Interest::WRITABLE)?;
        socket.is_ready = true;
        *self.sockets.at(index) = Some(socket);
        Ok(())
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Socket> {
        self.sockets.get_mut(index)?.as_mut()
    }

    /// Closes the socket, which also ends the watching.
    pub(crate) fn close(&mut self, index: u32) {
        if let Some(place) = self.sockets.get_mut(index) {
            *place = None;
        }
    }

    /// Where the device is.
    pub(crate) fn peer(&self, index: u32) -> Option<SocketAddr> {
        self.sockets.get(index)?.as_ref()?.stream.peer_addr().ok()
    }
}

impl Socket {
    /// Reads once. `recv` and `send` pass by what the kernel does for files of any kind, which is a tenth of their cost.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Got {
        let length = buffer.len();
        match recv(&self.stream, buffer, RecvFlags::empty()).map_err(io::Error::from) {
            Ok((0, _)) => Got::End,
            Ok((count, _)) if count < length && !self.ends => Got::Last(count),
            Ok((count, _)) => Got::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Got::Bytes(0),
            Err(_) => Got::Error,
        }
    }

    /// Writes once, as much as the socket takes.
    pub(crate) fn write(&mut self, output: &Output) -> Took {
        let written = match output.only() {
            Some(bytes) => send(&self.stream, bytes, SendFlags::NOSIGNAL),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let used = output.slices(&mut slices);
                let mut nothing = SendAncillaryBuffer::default();
                sendmsg(&self.stream, &slices[..used], &mut nothing, SendFlags::NOSIGNAL)
            }
        };
        match written.map_err(io::Error::from) {
            Ok(0) => Took::Error,
            Ok(count) => Took::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_full = true;
                Took::Full
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Took::Bytes(0),
            Err(_) => Took::Error,
        }
    }

    /// Tells the other side that nothing more comes; the last bytes still reach it.
    pub(crate) fn shut(&mut self) {
        if !std::mem::replace(&mut self.is_shut, true) {
            // If it fails the connection is gone, which the next read will say.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}
