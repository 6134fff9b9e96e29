//! Sockets that their devices have left: half-open ones, and ones that part in peace.

use std::io::{self, Read};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::line::shut;
use crate::time::Ms;

/// A half-open socket is closed after this if the room has not ended it.
const HALF_OPEN_MS: Ms = 600_000;
/// How long a socket that parts waits for the room to hang up.
const PARTING_MS: Ms = 2_000;

/// The sockets, at most a fixed number.
pub(crate) struct Leftovers {
    places: Vec<Option<Leftover>>,
    free: Vec<u32>,
    /// The token of place 0.
    first: usize,
    half_open: u64,
}

struct Leftover {
    stream: TcpStream,
    until: Ms,
    kind: Kind,
}

/// How a socket was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Neither read nor written any more, as after a phone went out of reach.
    HalfOpen,
    /// Said all it had to say; whatever comes is read and thrown away, since closing a socket with unread bytes would throw away
    /// what was sent.
    Parting,
}

impl Leftovers {
    /// Space for `most` sockets, whose tokens begin with `first`.
    pub(crate) fn new(most: usize, first: usize) -> Leftovers {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Leftovers {
            places: (0..most).map(|_| None).collect(),
            free: (0..most).rev().collect(),
            first,
            half_open: 0,
        }
    }

    /// Whether there is nothing to watch over.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Half-open sockets now.
    pub(crate) fn half_open(&self) -> u64 {
        self.half_open
    }

    /// Whether there is space for one more.
    pub(crate) fn has_space(&self) -> bool {
        !self.free.is_empty()
    }

    /// Keeps a socket that nobody will read; without space it is closed.
    pub(crate) fn forget(&mut self, stream: TcpStream, now: Ms, registry: &Registry) {
        let leftover = Leftover { stream, until: now + HALF_OPEN_MS, kind: Kind::HalfOpen };
        if self.add(leftover, registry).is_ok() {
            self.half_open += 1;
        }
    }

    /// Parts in peace; without space it is closed at once.
    pub(crate) fn part(&mut self, stream: TcpStream, now: Ms, registry: &Registry) {
        shut(&stream);
        // A failure has closed it.
        let _ = self.add(Leftover { stream, until: now + PARTING_MS, kind: Kind::Parting }, registry);
    }

    fn add(&mut self, mut leftover: Leftover, registry: &Registry) -> io::Result<()> {
        let Some(place) = self.free.pop() else { return Err(io::ErrorKind::OutOfMemory.into()) };
        let token = Token(self.first + place as usize);
        if let Err(error) = registry.reregister(&mut leftover.stream, token, Interest::READABLE) {
            self.free.push(place);
            return Err(error);
        }
        self.places[place as usize] = Some(leftover);
        Ok(())
    }

    /// Something happened to the socket with this token.
    pub(crate) fn happened(&mut self, token: usize, event: &Event, scratch: &mut [u8]) {
        let Some(place) = token.checked_sub(self.first).filter(|place| *place < self.places.len()) else {
            return;
        };
        let Some(leftover) = &mut self.places[place] else { return };
        let over = match leftover.kind {
            Kind::HalfOpen => event.is_read_closed() || event.is_error(),
            Kind::Parting => is_over(&mut leftover.stream, scratch),
        };
        if over {
            self.close(place);
        }
    }

    /// Closes what has waited too long.
    pub(crate) fn sweep(&mut self, now: Ms) {
        for place in 0..self.places.len() {
            if self.places[place].as_ref().is_some_and(|leftover| leftover.until <= now) {
                self.close(place);
            }
        }
    }

    fn close(&mut self, place: usize) {
        let Some(leftover) = self.places[place].take() else { return };
        self.free.push(place as u32);
        if leftover.kind == Kind::HalfOpen {
            self.half_open -= 1;
        }
    }
}

/// Reads what has come; says whether that was the last.
fn is_over(stream: &mut TcpStream, scratch: &mut [u8]) -> bool {
    loop {
        match stream.read(scratch) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
