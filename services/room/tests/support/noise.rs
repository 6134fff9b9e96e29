use std::io::{Read, Result, Write};

use longline_noise::{HANDSHAKE_LEN, Initiator, PREFACE, PublicKey, Session};

/// The device's side of Noise as a stream of bytes that begins with HELLO.
pub struct Stream<S> {
    stream: S,
    session: Session,
    raw: Vec<u8>,
    read: Vec<u8>,
}

impl<S: Read + Write> Stream<S> {
    /// Shakes hands; an error if the room does not answer.
    pub fn connect(mut stream: S, key: &PublicKey) -> Result<Stream<S>> {
        let (mut initiator, message) = Initiator::new(key).unwrap();
        stream.write_all(&PREFACE)?;
        stream.write_all(&message)?;
        stream.flush()?;
        let mut answer = [0; HANDSHAKE_LEN];
        let mut seen = 0;
        while seen < HANDSHAKE_LEN {
            match stream.read(&mut answer[seen..]) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => seen += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let session = initiator.finish(&answer).unwrap().unwrap();
        Ok(Stream { stream, session, raw: Vec::new(), read: Vec::new() })
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.read.is_empty() {
            let mut piece = [0; 16 * 1024];
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                return Ok(0);
            }
            self.raw.extend_from_slice(&piece[..count]);
            let opened = self.session.open(&mut self.raw).unwrap();
            self.read.extend_from_slice(&self.raw[..opened.payload]);
            self.raw.drain(..opened.used);
        }
        let count = buffer.len().min(self.read.len());
        buffer[..count].copy_from_slice(&self.read[..count]);
        self.read.drain(..count);
        Ok(count)
    }
}

impl<S: Read + Write> Write for Stream<S> {
    /// A plain preface is left out: that of Noise has been sent in its place.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes == longline_wire::PREFACE {
            return Ok(bytes.len());
        }
        let mut sealed = Vec::new();
        self.session.seal(bytes, &mut sealed).unwrap();
        self.stream.write_all(&sealed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}
