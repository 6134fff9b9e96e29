use std::io::{Error, ErrorKind, Read, Result, Write};

use tungstenite::protocol::CloseFrame;
use tungstenite::{Bytes, Error as WsError, Message, WebSocket};

/// A real WebSocket client as a stream of bytes; each write is a message.
pub struct Stream<S> {
    pub socket: WebSocket<S>,
    read: Bytes,
    /// What the room's close frame said.
    pub closed: Option<CloseFrame>,
}

impl<S: Read + Write> Stream<S> {
    /// Asks for the upgrade.
    pub fn connect(url: &str, stream: S) -> Stream<S> {
        let (socket, response) = tungstenite::client(url, stream).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(response.status(), 101);
        Stream { socket, read: Bytes::new(), closed: None }
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.read.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.read = bytes,
                Ok(Message::Close(frame)) => self.closed = frame,
                Ok(_) => {}
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => return Ok(0),
                Err(WsError::Io(error)) => return Err(error),
                Err(error) => return Err(Error::new(ErrorKind::InvalidData, error)),
            }
        }
        let count = buffer.len().min(self.read.len());
        buffer[..count].copy_from_slice(&self.read.split_to(count));
        Ok(count)
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.socket.send(Message::Binary(Bytes::copy_from_slice(bytes))).map_err(Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.socket.flush().map_err(Error::other)
    }
}
