//! A device's socket, and what belongs to it.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::injectors::Serial;
use crate::output::{Output, Pool};
use crate::session::Session;

/// A device that is connected.
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) session: Session,
    pub(crate) output: Output,
    /// Bytes of the output that the socket did not take when it was last written to.
    stuck: u64,
    /// The number of its user, once it is open.
    pub(crate) user: u32,
    /// Who delivered to it last.
    pub(crate) injector: Serial,
    /// The bind's index, once it is open.
    pub(crate) bind: u8,
    /// It is in the list of connections to write to.
    pub(crate) is_listed: bool,
    /// It took less than it was given; it is written to again when the poll says so.
    is_full: bool,
    /// The poll tells when it has space. Few ever need that.
    watches_space: bool,
}

/// What a read brought.
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

impl Connection {
    /// Watches the socket for bytes.
    pub(crate) fn new(mut stream: TcpStream, token: Token, registry: &Registry) -> io::Result<Connection> {
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Connection {
            stream,
            session: Session::default(),
            output: Output::default(),
            stuck: 0,
            user: 0,
            injector: Serial::NONE,
            bind: 0,
            is_listed: false,
            is_full: false,
            watches_space: false,
        })
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Got {
        match self.stream.read(buffer) {
            Ok(0) => Got::End,
            Ok(count) => Got::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Got::Bytes(0),
            Err(_) => Got::End,
        }
    }

    /// The poll says that there is space. Whether that was waited for.
    pub(crate) fn has_space(&mut self) -> bool {
        std::mem::take(&mut self.is_full)
    }

    /// Writes as much of the output as the socket takes, and keeps the sum of what sockets did not take. An error if the
    /// connection is over.
    pub(crate) fn write(&mut self, pool: &mut Pool, all_stuck: &mut u64) -> io::Result<()> {
        let mut result = Ok(());
        while !self.is_full && !self.output.is_empty() && result.is_ok() {
            result = self.write_once().map(|count| self.output.advance(count, pool));
        }
        self.count_stuck(all_stuck);
        result
    }

    /// Bytes that the socket did not take when it was last written to.
    pub(crate) fn stuck(&self) -> u64 {
        self.stuck
    }

    /// Gives up what is not written.
    pub(crate) fn give_up(&mut self, pool: &mut Pool, all_stuck: &mut u64) {
        self.output.clear(pool);
        self.count_stuck(all_stuck);
    }

    /// Writes bytes that are in no output; says how many the socket took. An error if the connection is over.
    pub(crate) fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        took(self.stream.write(bytes)).map(|took| took.unwrap_or(0))
    }

    /// Whether the poll has yet to be asked to tell of space.
    pub(crate) fn is_unwatched(&self) -> bool {
        self.is_full && !self.watches_space
    }

    /// Asks the poll to tell of space, from now on.
    pub(crate) fn watch_space(&mut self, token: Token, registry: &Registry) -> io::Result<()> {
        self.watches_space = true;
        registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn write_once(&mut self) -> io::Result<usize> {
        let took = took(self.stream.write(self.output.bytes()))?;
        self.is_full = took.is_none();
        Ok(took.unwrap_or(0))
    }

    fn count_stuck(&mut self, all_stuck: &mut u64) {
        let now = self.output.len() as u64;
        *all_stuck = *all_stuck + now - self.stuck;
        self.stuck = now;
    }
}

/// The bytes that a write took; none if the socket is full. An error if the connection is over.
pub(crate) fn took(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(0)),
        Err(error) => Err(error),
    }
}
