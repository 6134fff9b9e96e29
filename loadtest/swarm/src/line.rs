//! A device's socket, and what of its bytes waits: input that is no whole frame yet, output that the socket did not take.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::ops::Range;

use longline_load_truth::Receipt;
use mio::net::TcpStream;

use crate::time::Ms;
use crate::wrap::Wrap;

/// Room for the start of a frame before what is read next: longer than any frame of a room.
pub(crate) const HEAD: usize = 72 * 1024;
/// The most that is read at once.
pub(crate) const READ: usize = 256 * 1024;
/// The most that a wrap keeps of a record that is not whole: Noise's longest with its length.
const UNFINISHED: usize = 2 + 65_535;
/// A device with so many bytes to send reads nothing until the room has taken them.
const CLOGGED: usize = 64 * 1024;

/// A place for a socket. Nearly all are without [`Rest`] nearly always.
#[derive(Default)]
pub(crate) struct Line {
    stream: Option<TcpStream>,
    rest: Option<Box<Rest>>,
    /// What lies between, unless it is plain TCP.
    wrap: Option<Box<Wrap>>,
}

/// Bytes that wait.
#[derive(Default)]
struct Rest {
    input: Vec<u8>,
    output: Vec<u8>,
    /// What the output acknowledges.
    receipts: Vec<Receipt>,
    /// The socket took something last.
    took: Ms,
    /// It was not read since the output clogged it.
    unread: bool,
}

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Got {
    /// Bytes in this part of the buffer, waiting ones before the new ones, of which there are so many. Whether more may be there.
    Bytes { bytes: Range<usize>, fresh: usize, more: bool },
    /// Nothing for now.
    Nothing,
    /// The other side sends no more.
    End,
    /// The connection is over.
    Failed(io::Error),
}

/// What became of bytes to be sent.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// All bytes are in the kernel's hands; so many in this call.
    All(usize),
    /// So many are, and the others wait.
    Part(usize),
}

impl Line {
    /// Takes a socket that is being connected, and what is to lie between it and the device.
    pub(crate) fn open(&mut self, stream: TcpStream, wrap: Option<Box<Wrap>>) {
        *self = Line { stream: Some(stream), rest: None, wrap };
    }

    /// Gives the socket away, and forgets what waited.
    pub(crate) fn close(&mut self) -> Option<TcpStream> {
        (self.rest, self.wrap) = (None, None);
        self.stream.take()
    }

    /// Whether the connect has come to its end: none if it has not.
    pub(crate) fn connected(&self) -> Option<io::Result<()>> {
        let stream = self.stream.as_ref()?;
        match stream.take_error() {
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
            Ok(None) => {}
        }
        match stream.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads once, at most `most` bytes, to behind [`HEAD`]; the start of a frame that waited is put before them.
    pub(crate) fn read(&mut self, buffer: &mut [u8], most: usize, now: Ms) -> Got {
        let Some(stream) = &mut self.stream else { return Got::Nothing };
        let space = buffer.len() - HEAD;
        // What a wrap kept of an unfinished record comes out with what is read.
        let most = most.min(if self.wrap.is_some() { space - UNFINISHED } else { space });
        match stream.read(&mut buffer[HEAD..HEAD + most]) {
            Ok(0) => Got::End,
            Ok(fresh) => match self.unwrap(buffer, fresh, now) {
                Ok(0) => Got::Bytes { bytes: HEAD..HEAD, fresh, more: fresh == most },
                Ok(plain) => {
                    let start = self.put_before(buffer);
                    Got::Bytes { bytes: start..HEAD + plain, fresh, more: fresh == most }
                }
                Err(error) => Got::Failed(error),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Got::Bytes { bytes: HEAD..HEAD, fresh: 0, more: true }
            }
            Err(error) => Got::Failed(error),
        }
    }

    /// Puts what these bytes carry in their place, and answers what the wrap has to answer.
    fn unwrap(&mut self, buffer: &mut [u8], fresh: usize, now: Ms) -> io::Result<usize> {
        let Some(wrap) = &mut self.wrap else { return Ok(fresh) };
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        wrap.open(&mut buffer[HEAD..HEAD + fresh], &mut plain, &mut wire)?;
        let place = buffer[HEAD..].get_mut(..plain.len()).ok_or(io::ErrorKind::InvalidData)?;
        place.copy_from_slice(&plain);
        self.send_wire(&wire, &[], now)?;
        Ok(plain.len())
    }

    fn put_before(&mut self, buffer: &mut [u8]) -> usize {
        let Some(rest) = &mut self.rest else { return HEAD };
        let start = HEAD - rest.input.len();
        buffer[start..HEAD].copy_from_slice(&rest.input);
        rest.input.clear();
        self.tidy();
        start
    }

    /// Keeps the start of a frame until more of it has come.
    pub(crate) fn keep(&mut self, input: &[u8]) {
        if !input.is_empty() {
            self.rest.get_or_insert_default().input = input.to_vec();
        }
    }

    /// Sends bytes after those that wait already. `receipts` are for what they acknowledge.
    ///
    /// # Errors
    /// If the connection is over.
    pub(crate) fn send(&mut self, bytes: &[u8], receipts: &[Receipt], now: Ms) -> io::Result<Sent> {
        let Some(wrap) = &mut self.wrap else { return self.send_wire(bytes, receipts, now) };
        let mut wire = Vec::new();
        wrap.seal(bytes, &mut wire)?;
        self.send_wire(&wire, receipts, now)
    }

    fn send_wire(&mut self, bytes: &[u8], receipts: &[Receipt], now: Ms) -> io::Result<Sent> {
        let waits = self.rest.as_ref().is_some_and(|rest| !rest.output.is_empty());
        let took = if waits { 0 } else { self.write(bytes)? };
        if took == bytes.len() {
            return Ok(Sent::All(took));
        }
        let rest = self.rest.get_or_insert_default();
        if rest.output.is_empty() {
            rest.took = now;
        }
        rest.output.extend_from_slice(&bytes[took..]);
        rest.receipts.extend_from_slice(receipts);
        Ok(Sent::Part(took))
    }

    /// Sends what waits. When all of it is gone, the receipts for what it acknowledged are appended to
    /// `receipts`.
    ///
    /// # Errors
    /// If the connection is over.
    pub(crate) fn send_more(&mut self, receipts: &mut Vec<Receipt>, now: Ms) -> io::Result<Sent> {
        let Some(mut rest) = self.rest.take() else { return Ok(Sent::All(0)) };
        let written = self.write(&rest.output);
        let took = *written.as_ref().unwrap_or(&0);
        rest.output.drain(..took);
        let is_sent = rest.output.is_empty();
        if took > 0 {
            rest.took = now;
        }
        if is_sent {
            receipts.append(&mut rest.receipts);
        }
        self.rest = Some(rest);
        self.tidy();
        written.map(|took| if is_sent { Sent::All(took) } else { Sent::Part(took) })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Since when the socket takes nothing of what waits; none if nothing does.
    pub(crate) fn stuck_since(&self) -> Option<Ms> {
        self.rest.as_ref().filter(|rest| !rest.output.is_empty()).map(|rest| rest.took)
    }

    /// Whether so much waits to be sent that nothing is to be read now. Then [`Line::take_unread`] says so later.
    pub(crate) fn is_clogged(&mut self) -> bool {
        match &mut self.rest {
            Some(rest) if rest.output.len() >= CLOGGED => {
                rest.unread = true;
                true
            }
            _ => false,
        }
    }

    /// Whether it is no longer clogged and is to be read again.
    pub(crate) fn take_unread(&mut self) -> bool {
        match &mut self.rest {
            Some(rest) if rest.output.len() < CLOGGED => std::mem::take(&mut rest.unread),
            _ => false,
        }
    }

    fn tidy(&mut self) {
        if self
            .rest
            .as_ref()
            .is_some_and(|rest| rest.input.is_empty() && rest.output.is_empty() && !rest.unread)
        {
            self.rest = None;
        }
    }
}

/// Tells the other side that nothing more comes.
pub(crate) fn shut(stream: &TcpStream) {
    // If it fails the connection is gone, which the next read will say.
    let _ = stream.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as Blocking};
    use std::time::{Duration, Instant};

    use super::*;

    fn pair() -> (Line, Blocking) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = Blocking::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let mut line = Line::default();
        line.open(TcpStream::from_std(near), None);
        (line, listener.accept().unwrap().0)
    }

    fn read(line: &mut Line, buffer: &mut [u8]) -> Range<usize> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match line.read(buffer, READ, 0) {
                Got::Bytes { bytes, .. } => return bytes,
                Got::Nothing => assert!(Instant::now() < end, "nothing came"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_start_of_a_frame_is_put_before_what_comes_next() {
        let (mut line, mut far) = pair();
        let mut buffer = vec![0; HEAD + READ];
        far.write_all(b"abc").unwrap();
        let bytes = read(&mut line, &mut buffer);
        line.keep(&buffer[bytes.start + 1..bytes.end]);
        far.write_all(b"d").unwrap();
        let bytes = read(&mut line, &mut buffer);
        assert_eq!(&buffer[bytes], b"bcd");
        assert!(line.rest.is_none(), "nothing is kept for a line without waiting bytes");
    }

    #[test]
    fn what_a_full_socket_does_not_take_waits_with_its_acks() {
        let (mut line, mut far) = pair();
        let bytes: Vec<u8> = (0..16_000_000_u32).map(|n| (n / 1000) as u8).collect();
        let sent = line.send(&bytes, &[Receipt::NONE; 2], 10).unwrap();
        assert!(matches!(sent, Sent::Part(took) if took < bytes.len()), "{sent:?}");
        assert_eq!(line.send(b"end", &[Receipt::NONE], 20).unwrap(), Sent::Part(0));
        assert_eq!(line.stuck_since(), Some(10));
        assert!(line.is_clogged());
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        let (mut acks, end) = (Vec::new(), Instant::now() + Duration::from_secs(30));
        while !matches!(line.send_more(&mut acks, 30).unwrap(), Sent::All(_)) {
            assert!(acks.is_empty() && Instant::now() < end);
        }
        assert!(line.take_unread() && !line.take_unread());
        assert_eq!((acks.len(), line.stuck_since()), (3, None));
        drop(line.close());
        assert!(reader.join().unwrap() == [&bytes[..], b"end"].concat());
    }

    #[test]
    fn an_end_and_a_reset_are_told_apart() {
        let (mut buffer, end) = (vec![0; HEAD + READ], Instant::now() + Duration::from_secs(10));
        let mut last = |line: &mut Line| loop {
            match line.read(&mut buffer, READ, 0) {
                Got::Nothing => assert!(Instant::now() < end, "nothing came"),
                other => return other,
            }
        };
        let (mut line, far) = pair();
        drop(far);
        assert!(matches!(last(&mut line), Got::End));

        let (mut line, far) = pair();
        line.send(b"never read", &[], 0).unwrap();
        far.peek(&mut [0]).unwrap();
        drop(far);
        assert!(matches!(last(&mut line), Got::Failed(_)));
    }
}
