//! What lies between the socket and the frames of a connection: nothing for plain Longline TCP, else layers that open what comes
//! and seal what goes. Without sockets and clock, and of no shard, so that a connection can move with it.
//!
//! ```text
//! socket ─ PROXY header? ─ TLS? ─ WebSocket? ─ Noise? ─ frames
//! ```
//!
//! The first byte of what a layer carries says what is inside it; Noise is announced by the preface.

mod certificates;
mod config;
mod key;
mod kind;
mod noise;
mod shared;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;

pub use certificates::Certificates;
#[cfg(test)]
pub(crate) use certificates::metric_descriptions;
pub use config::{NoiseConfig, ProxyConfig, TlsConfig, Transports, WebSocketConfig};
pub use key::open_noise_key;
pub(crate) use kind::TransportKind;
pub(crate) use shared::Shared;

use std::net::SocketAddr;

use longline_types::CloseReason;

use crate::metrics::Counters;
use crate::session::Ending;
use noise::Noise;
use tls::Tls;
use websocket::WebSocket;

/// The first byte of a TLS record that holds a handshake message.
const TLS_HANDSHAKE: u8 = 0x16;

/// The layers of one connection.
pub(crate) struct Transport {
    next: Next,
    /// Where the device is, as a trusted proxy says.
    client: Option<Box<SocketAddr>>,
    tls: Option<Box<Tls>>,
    websocket: Option<Box<WebSocket>>,
    noise: Option<Box<Noise>>,
    /// In the line of handshakes.
    waits: bool,
    /// The last words of the layers have been said.
    closed: bool,
}

/// What the next first byte decides.
enum Next {
    /// Whether a PROXY header comes; with what has come of it.
    Header(Vec<u8>),
    /// The header has told who the device is. What came behind it waits for the next call, so that whoever may not connect has nothing
    /// of it read.
    Introduced(Vec<u8>),
    /// What the socket carries.
    Outer,
    /// What TLS carries.
    Inner,
    /// Nothing: all layers are known.
    Settled,
}

/// What became of bytes that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// They were opened as far as they are whole.
    Done,
    /// A handshake would begin, which the turn has no time for: to be called again with no bytes.
    Waits,
    /// The other side sends no more.
    Ended,
}

impl Transport {
    /// The transport that this first byte of a connection begins; none for plain Longline TCP, and for what is nothing at all.
    pub(crate) fn begun_by(first: u8, shared: &Shared) -> Option<Box<Transport>> {
        let mut transport = Transport::bare();
        transport.next = Next::Outer;
        transport.settle_outer(first, shared);
        (transport.tls.is_some() || transport.websocket.is_some()).then_some(transport)
    }

    /// For a connection of a trusted proxy, which may begin with a PROXY header.
    pub(crate) fn behind_proxy() -> Box<Transport> {
        let mut transport = Transport::bare();
        transport.next = Next::Header(Vec::new());
        transport
    }

    /// For a connection without any layers; to be given some.
    pub(crate) fn bare() -> Box<Transport> {
        Box::new(Transport {
            next: Next::Settled,
            client: None,
            tls: None,
            websocket: None,
            noise: None,
            waits: false,
            closed: false,
        })
    }

    /// Where the device is, if a trusted proxy has said so.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.client.as_deref().copied()
    }

    /// Opens what came; nothing when its turn for a handshake has come. What is for the session is in `shared.plain` then, what is
    /// to be written at once in `shared.replies`, also if it failed.
    pub(crate) fn open(
        &mut self,
        wire: &[u8],
        shared: &mut Shared,
        counters: &Counters,
    ) -> Result<Opened, Ending> {
        shared.plain.clear();
        shared.replies.clear();
        self.waits &= !wire.is_empty();
        let behind = match std::mem::replace(&mut self.next, Next::Outer) {
            Next::Header(bytes) => match self.header(bytes, wire)? {
                Some(behind) => Some(behind),
                None => return Ok(Opened::Done),
            },
            Next::Introduced(mut bytes) => {
                bytes.extend_from_slice(wire);
                Some(bytes)
            }
            known => {
                self.next = known;
                None
            }
        };
        let wire = behind.as_deref().unwrap_or(wire);
        if matches!(self.next, Next::Outer)
            && let Some(first) = wire.first()
        {
            self.settle_outer(*first, shared);
        }
        let mut opened = match &mut self.tls {
            Some(tls) => tls.open(wire, shared, counters),
            None => {
                shared.plain.extend_from_slice(wire);
                Ok(Opened::Done)
            }
        };
        if matches!(self.next, Next::Inner)
            && let Some(first) = shared.plain.first()
        {
            self.next = Next::Settled;
            self.begin_websocket(*first);
        }
        if let Some(websocket) = &mut self.websocket {
            let mut answers = std::mem::take(&mut shared.answers);
            let ended = websocket.open(&mut shared.plain, &shared.settings.websocket_path, &mut answers);
            self.send_outer(&answers, shared);
            Shared::keep(&mut shared.answers, answers);
            opened = match ended {
                Ok(true) => opened.map(|_| Opened::Ended),
                Ok(false) => opened,
                Err(ending) => opened.and(Err(ending)),
            };
        }
        let waits = self.open_noise(shared)?;
        Ok(if waits == Opened::Waits { Opened::Waits } else { opened? })
    }

    /// The preface has announced Noise: what comes is opened by it from now on, beginning with these bytes. Otherwise as
    /// [`Transport::open`].
    pub(crate) fn begin_noise(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<Opened, Ending> {
        shared.plain.clear();
        shared.replies.clear();
        shared.plain.extend_from_slice(bytes);
        self.noise = Some(Box::default());
        self.open_noise(shared)
    }

    /// Whether it is to be put into the line of handshakes: it waits, and is not there yet.
    pub(crate) fn lines_up(&mut self) -> bool {
        !std::mem::replace(&mut self.waits, true)
    }

    /// Appends the sealed bytes of `plain` to `wire`. Before the handshake there is no way to say anything: it is dropped.
    pub(crate) fn seal(
        &mut self,
        plain: &[u8],
        wire: &mut Vec<u8>,
        shared: &mut Shared,
    ) -> Result<(), Ending> {
        match &mut self.noise {
            None => self.send_middle(plain, wire, shared),
            Some(noise) => {
                let mut records = std::mem::take(&mut shared.records);
                noise.seal(plain, &mut records)?;
                let sent = self.send_middle(&records, wire, shared);
                Shared::keep(&mut shared.records, records);
                sent
            }
        }
    }

    /// The layers have not said yet that nothing more comes.
    pub(crate) fn is_to_be_closed(&self) -> bool {
        !self.closed && self.has_last_words()
    }

    /// Whether there is a layer that says that nothing more comes.
    pub(crate) fn has_last_words(&self) -> bool {
        self.tls.is_some() || self.websocket.is_some()
    }

    /// Appends what the layers say when nothing more comes.
    pub(crate) fn close(&mut self, reason: CloseReason, wire: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let mut frame = Vec::new();
        if let Some(websocket) = &mut self.websocket {
            websocket.close(reason, &mut frame);
        }
        match &mut self.tls {
            // If that fails, nothing more can be said.
            Some(tls) => {
                let _ = tls.seal(&frame, wire);
                tls.close(wire);
            }
            None => wire.append(&mut frame),
        }
    }

    /// Bytes that it takes, within its handshake or after: what its layers are, and what they keep until more of it comes.
    pub(crate) fn held(&self, in_handshake: bool) -> usize {
        let header = match &self.next {
            Next::Header(bytes) | Next::Introduced(bytes) => bytes.capacity(),
            Next::Outer | Next::Inner | Next::Settled => 0,
        };
        let tls = self.tls.as_ref().map_or(0, |tls| tls.kept_bytes());
        let websocket = self.websocket.as_ref().map_or(0, |websocket| websocket.kept_bytes());
        let noise = self.noise.as_ref().map_or(0, |noise| noise.kept_bytes());
        self.kind().bytes(in_handshake) + header + tls + websocket + noise
    }

    pub(crate) fn kind(&self) -> TransportKind {
        match (&self.noise, &self.websocket, &self.tls) {
            (Some(_), ..) => TransportKind::Noise,
            (None, Some(_), Some(_)) => TransportKind::WebSocketTls,
            (None, Some(_), None) => TransportKind::WebSocket,
            (None, None, Some(_)) => TransportKind::Tls,
            (None, None, None) => TransportKind::Tcp,
        }
    }

    /// Reads the header of a proxy, of which `bytes` have come before. What is to be opened now: all that has come if there is no
    /// header, what came behind one that names nobody; nothing while it is not whole, and before who it names was judged.
    fn header(&mut self, mut bytes: Vec<u8>, wire: &[u8]) -> Result<Option<Vec<u8>>, Ending> {
        bytes.extend_from_slice(wire);
        let bad = |error| Ending::new(CloseReason::BadPreface, format!("{error}"));
        let decoded = match bytes.first() {
            None => None,
            Some(first) if !longline_proxy::may_begin(*first) => return Ok(Some(bytes)),
            Some(_) => longline_proxy::decode(&bytes).map_err(bad)?,
        };
        let Some((header, used)) = decoded else {
            self.next = Next::Header(bytes);
            return Ok(None);
        };
        let behind = bytes.split_off(used);
        let Some(client) = header.source() else { return Ok(Some(behind)) };
        self.client = Some(Box::new(canonical(client)));
        self.next = Next::Introduced(behind);
        Ok(None)
    }

    fn settle_outer(&mut self, first: u8, shared: &Shared) {
        self.next = Next::Settled;
        if first != TLS_HANDSHAKE {
            self.begin_websocket(first);
        } else if let Some(certificates) = &shared.settings.tls {
            self.tls = certificates.begin();
            self.next = Next::Inner;
        }
    }

    fn begin_websocket(&mut self, first: u8) {
        if longline_websocket::may_begin(first) {
            self.websocket = Some(WebSocket::new());
        }
    }

    fn open_noise(&mut self, shared: &mut Shared) -> Result<Opened, Ending> {
        let (Some(noise), Some(key)) = (&mut self.noise, &shared.settings.noise) else {
            return Ok(Opened::Done);
        };
        let mut answers = std::mem::take(&mut shared.answers);
        let handshakes = &mut shared.handshakes;
        let opened = noise.open(&mut shared.plain, key, handshakes, &mut answers);
        if opened.is_err() {
            // What could not be opened is not for the session.
            shared.plain.clear();
        }
        let mut replies = std::mem::take(&mut shared.replies);
        let sent = self.send_middle(&answers, &mut replies, shared);
        shared.replies = replies;
        Shared::keep(&mut shared.answers, answers);
        let opened = opened?;
        sent?;
        Ok(opened)
    }

    /// Appends what is said inside WebSocket, if there is that.
    fn send_middle(&mut self, bytes: &[u8], wire: &mut Vec<u8>, shared: &mut Shared) -> Result<(), Ending> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(websocket) = &self.websocket else { return self.send_tls(bytes, wire) };
        let Some(head) = websocket.head(bytes.len()) else { return Ok(()) };
        if self.tls.is_none() {
            wire.extend_from_slice(head.as_ref());
            wire.extend_from_slice(bytes);
            return Ok(());
        }
        let mut frame = std::mem::take(&mut shared.frame);
        frame.extend_from_slice(head.as_ref());
        frame.extend_from_slice(bytes);
        let sent = self.send_tls(&frame, wire);
        Shared::keep(&mut shared.frame, frame);
        sent
    }

    fn send_tls(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), Ending> {
        match &mut self.tls {
            Some(tls) => tls.seal(bytes, wire),
            None => {
                wire.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// What WebSocket says by itself.
    fn send_outer(&mut self, bytes: &[u8], shared: &mut Shared) {
        if !bytes.is_empty() {
            // If that fails, the next that is said does too, and ends the connection.
            let _ = self.send_tls(bytes, &mut shared.replies);
        }
    }
}

/// An IPv4 address that was written as an IPv6 one is an IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What ends a connection whose layers break their rules.
fn broken(detail: impl Into<String>) -> Ending {
    Ending::new(CloseReason::BadTransport, detail)
}
