//! What lies between a device's frames and its socket beyond TCP: TLS, WebSocket, Noise.

use std::io::{self, Read, Write};

use longline_noise::{HANDSHAKE_LEN, Initiator, PREFACE, Session};
use longline_websocket::{
    ClientKey, Control, Decoder, PATH, Side, decode_response, encode_data, encode_pong, encode_request,
};
use rustls::ClientConnection;

use crate::Transport;
use crate::transport::Links;

/// The layers of one connection, which devices on plain TCP do not have.
pub(crate) struct Wrap {
    tls: Option<ClientConnection>,
    inner: Inner,
    /// What was said before the inner layer stood.
    queued: Vec<u8>,
    /// What the inner layer says first.
    first: Vec<u8>,
}

enum Inner {
    None,
    Upgrading { key: ClientKey, answer: Vec<u8> },
    WebSocket(Decoder),
    Shaking { initiator: Box<Initiator>, answer: Vec<u8> },
    Noise { session: Session, partial: Vec<u8> },
}

impl Wrap {
    /// The device's side of a new connection.
    ///
    /// # Errors
    /// If the transport needs what the swarm was not given.
    pub(crate) fn new(transport: Transport, links: &Links) -> io::Result<Option<Box<Wrap>>> {
        let mut wrap = Wrap { tls: None, inner: Inner::None, queued: Vec::new(), first: Vec::new() };
        match transport {
            Transport::Tcp => return Ok(None),
            Transport::Tls => wrap.tls = Some(links.tls(b"longline/1")?),
            Transport::Ws => wrap.ask_for_upgrade(links)?,
            Transport::Wss => {
                wrap.tls = Some(links.tls(b"http/1.1")?);
                wrap.ask_for_upgrade(links)?;
            }
            Transport::Noise => {
                let (initiator, message) = Initiator::new(&links.noise_key()?).map_err(invalid)?;
                wrap.first = [&PREFACE[..], &message].concat();
                let initiator = Box::new(initiator);
                wrap.inner = Inner::Shaking { initiator, answer: Vec::with_capacity(HANDSHAKE_LEN) };
            }
        }
        Ok(Some(Box::new(wrap)))
    }

    fn ask_for_upgrade(&mut self, links: &Links) -> io::Result<()> {
        let key = ClientKey::new(rand::random());
        encode_request(links.host(), PATH, &key, &mut self.first).map_err(invalid)?;
        self.inner = Inner::Upgrading { key, answer: Vec::new() };
        Ok(())
    }

    /// Appends what the socket is to be given for this payload. Before the handshakes are done, that is their part, and the payload
    /// follows by itself.
    pub(crate) fn seal(&mut self, payload: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let mut sealed = std::mem::take(&mut self.first);
        match &mut self.inner {
            Inner::None => return self.outer(payload, wire),
            Inner::Upgrading { .. } | Inner::Shaking { .. } => self.queued.extend_from_slice(payload),
            Inner::WebSocket(_) => encode_data(payload, Some(rand::random()), &mut sealed),
            Inner::Noise { session, .. } => session.seal(payload, &mut sealed).map_err(invalid)?,
        }
        self.outer(&sealed, wire)
    }

    fn outer(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            wire.extend_from_slice(bytes);
            return Ok(());
        };
        tls.writer().write_all(bytes)?;
        flush(tls, wire)
    }

    /// Appends to `plain` what the bytes from the socket carry, and to `wire` what is to be answered.
    ///
    /// # Errors
    /// If the other side breaks a layer's rules, or is not the one that is meant.
    pub(crate) fn open(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.open_inner(bytes, plain, wire) };
        let (mut rest, mut opened) = (&*bytes, Vec::new());
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            let state = tls.process_new_packets().map_err(invalid)?;
            let start = opened.len();
            opened.resize(start + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut opened[start..])?;
        }
        flush(tls, wire)?;
        self.open_inner(&mut opened, plain, wire)
    }

    fn open_inner(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.inner {
            Inner::None => plain.extend_from_slice(bytes),
            Inner::WebSocket(decoder) => {
                let mut pongs = Vec::new();
                let length = decoder.decode(bytes, |control| {
                    if let Control::Ping(ping) = control {
                        encode_pong(ping.as_ref(), Some(rand::random()), &mut pongs);
                    }
                });
                plain.extend_from_slice(&bytes[..length.map_err(invalid)?]);
                self.outer(&pongs, wire)?;
            }
            Inner::Noise { session, partial } => {
                partial.extend_from_slice(bytes);
                let opened = session.open(partial).map_err(invalid)?;
                plain.extend_from_slice(&partial[..opened.payload]);
                partial.drain(..opened.used);
                if partial.is_empty() {
                    // An idle device keeps no space.
                    *partial = Vec::new();
                }
            }
            Inner::Upgrading { key, answer } => {
                answer.extend_from_slice(bytes);
                if let Some(used) = decode_response(answer, key).map_err(invalid)? {
                    let mut rest = answer.split_off(used);
                    self.inner = Inner::WebSocket(Decoder::new(Side::Server));
                    return self.stands(&mut rest, plain, wire);
                }
            }
            Inner::Shaking { initiator, answer } => {
                answer.extend_from_slice(bytes);
                if let Some(session) = initiator.finish(answer).map_err(invalid)? {
                    let mut rest = answer.split_off(HANDSHAKE_LEN);
                    self.inner = Inner::Noise { session, partial: Vec::new() };
                    return self.stands(&mut rest, plain, wire);
                }
            }
        }
        Ok(())
    }

    /// The inner layer stands: says what was queued, and takes what came with its answer.
    fn stands(&mut self, rest: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> io::Result<()> {
        let queued = std::mem::take(&mut self.queued);
        if !queued.is_empty() {
            self.seal(&queued, wire)?;
        }
        self.open_inner(rest, plain, wire)
    }
}

fn flush(tls: &mut ClientConnection, wire: &mut Vec<u8>) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(wire)?;
    }
    Ok(())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use longline_noise::{StaticKey, accept};
    use longline_websocket::{decode_request, encode_ping};

    use super::*;
    use crate::Transports;

    fn links(key: &StaticKey) -> Links {
        let noise_key = Some(*key.public().as_bytes());
        Links::new(&Transports { noise_key, ..Transports::default() }).unwrap()
    }

    #[test]
    fn what_is_said_before_the_upgrade_follows_it() {
        let links = links(&StaticKey::generate().unwrap());
        let mut wrap = Wrap::new(Transport::Ws, &links).unwrap().unwrap();
        let (mut wire, mut plain) = (Vec::new(), Vec::new());
        wrap.seal(b"hello", &mut wire).unwrap();
        wrap.seal(b" you", &mut wire).unwrap();
        let (upgrade, used) = decode_request(&wire, PATH).unwrap().unwrap();
        assert_eq!(used, wire.len(), "nothing but the request");
        let mut answer = Vec::new();
        upgrade.encode(&mut answer);
        encode_ping(b"p", None, &mut answer);
        encode_data(b"welcome", None, &mut answer);
        wire.clear();
        for byte in answer {
            wrap.open(&mut [byte], &mut plain, &mut wire).unwrap();
        }
        assert_eq!(plain, b"welcome");
        let (mut room, mut pongs) = (Decoder::new(Side::Client), 0);
        let length = room.decode(&mut wire, |control| pongs += u8::from(control == Control::Pong)).unwrap();
        assert_eq!((&wire[..length], pongs), (b"hello you".as_slice(), 1));
    }

    #[test]
    fn what_is_said_before_the_handshake_is_encrypted_after_it() {
        let key = StaticKey::generate().unwrap();
        let mut wrap = Wrap::new(Transport::Noise, &links(&key)).unwrap().unwrap();
        let (mut wire, mut plain) = (Vec::new(), Vec::new());
        wrap.seal(b"hello", &mut wire).unwrap();
        assert_eq!(wire[..4], PREFACE);
        let mut accepted = accept(&key, &wire[4..]).unwrap().unwrap();
        wire.clear();
        let mut answer = accepted.answer.to_vec();
        accepted.session.seal(b"welcome", &mut answer).unwrap();
        for byte in answer {
            wrap.open(&mut [byte], &mut plain, &mut wire).unwrap();
        }
        assert_eq!(plain, b"welcome");
        let opened = accepted.session.open(&mut wire).unwrap();
        assert_eq!(&wire[..opened.payload], b"hello");
    }

    #[test]
    fn plain_tcp_has_no_wrap_and_noise_needs_a_key() {
        let none = Links::new(&Transports::default()).unwrap();
        assert!(Wrap::new(Transport::Tcp, &none).unwrap().is_none());
        assert!(Wrap::new(Transport::Noise, &none).is_err());
        assert!(Wrap::new(Transport::Tls, &none).is_err());
    }
}
