//! An injector's socket, its orders and its reports.

use std::io::{self, Read as _, Write as _};

use bytes::{Buf as _, Bytes, BytesMut};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::InjectError;
use crate::connection::took;
use crate::injection::{BATCH, LENGTH, Order, PREFACE, take_whole};
use crate::injectors::Serial;
use crate::reports::Reports;

/// Unhandled bytes with which no more are read: a whole batch is there then.
const INPUT: usize = LENGTH + BATCH;

/// An injector that is connected.
pub(crate) struct Peer {
    serial: Serial,
    stream: TcpStream,
    /// Its preface has come.
    is_greeted: bool,
    /// What it delivers is transient.
    pub(crate) is_transient: bool,
    input: BytesMut,
    /// What is left of the batch that is being handled.
    batch: Bytes,
    pub(crate) reports: Reports,
    /// There may be more to read.
    is_ready: bool,
    /// It sends no more: read until the end, however short the reads.
    ends: bool,
    /// Its last has been read.
    has_ended: bool,
    /// Its orders wait, since its reports are long.
    is_held: bool,
    /// It took less than it was given; it is written to again when the poll says so.
    is_full: bool,
}

impl Peer {
    /// Watches the socket.
    pub(crate) fn new(
        serial: Serial,
        mut stream: TcpStream,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Peer> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Peer {
            serial,
            stream,
            is_greeted: false,
            is_transient: false,
            input: BytesMut::new(),
            batch: Bytes::new(),
            reports: Reports::default(),
            is_ready: false,
            ends: false,
            has_ended: false,
            is_held: false,
            is_full: false,
        })
    }

    pub(crate) fn serial(&self) -> Serial {
        self.serial
    }

    /// The poll has told of it: that there is something to read, that nothing comes after that, that there is space.
    pub(crate) fn note(&mut self, readable: bool, ends: bool, writable: bool) {
        self.is_ready |= readable || ends;
        self.ends |= ends;
        self.is_full &= !writable;
    }

    /// Whether its last has been read.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether something can be done without anything new to happen.
    pub(crate) fn has_work(&self) -> bool {
        let reads = self.is_ready && self.input.len() < INPUT;
        reads || self.is_held && !self.reports.is_long()
    }

    /// Reads once, if there is something to read and space for it. An error if the connection is over.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.is_ready || self.input.len() >= INPUT {
            return Ok(());
        }
        match self.stream.read(buffer) {
            Ok(0) => (self.is_ready, self.has_ended) = (false, true),
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                self.is_ready = count == buffer.len() || self.ends;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next order of a batch that has come whole; none while its reports are long.
    pub(crate) fn next_order(&mut self) -> Result<Option<Order>, InjectError> {
        self.is_held = self.reports.is_long();
        if self.is_held {
            return Ok(None);
        }
        while self.batch.is_empty() {
            if !self.greet()? {
                return Ok(None);
            }
            let Some(batch) = take_whole(&mut self.input, BATCH)? else { return Ok(None) };
            self.batch = batch.freeze();
        }
        let order = Order::take(&mut self.batch);
        if self.batch.is_empty() {
            // The memory is used again once nobody holds it.
            self.batch = Bytes::new();
        }
        order.map(Some)
    }

    /// Writes what it is to be told. An error if the connection is over, or it does not read at all.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.reports.end();
        while !self.is_full && !self.reports.unwritten().is_empty() {
            match took(self.stream.write(self.reports.unwritten()))? {
                Some(count) => self.reports.advance(count),
                None => self.is_full = true,
            }
        }
        if self.reports.is_too_long() {
            return Err(io::Error::other("it does not read what it is told"));
        }
        Ok(())
    }

    /// Whether the preface has come.
    fn greet(&mut self) -> Result<bool, InjectError> {
        if self.is_greeted {
            return Ok(true);
        }
        let came = self.input.len().min(PREFACE.len());
        if self.input[..came] != PREFACE[..came] {
            return Err(InjectError::Malformed("it does not begin with LLI and 1"));
        }
        self.is_greeted = came == PREFACE.len();
        if self.is_greeted {
            self.input.advance(came);
        }
        Ok(self.is_greeted)
    }
}
