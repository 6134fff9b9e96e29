//! TLS 1.2 and 1.3 by rustls, which holds no buffers: what came and is not whole is kept here, and only while it is there.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::{Opened, Shared, broken};
use crate::metrics::Counters;
use crate::session::Ending;

/// Most bytes of records that are not whole. A record has at most 16 KiB and some; a longer message of a handshake has no reason.
const MOST_PARTIAL: usize = 20 * 1024;
/// Header, tag and what else a record takes beyond its content, rounded up.
const RECORD_OVERHEAD: usize = 64;
const RECORD: usize = 16 * 1024;
/// First bytes of records: of alerts, and of all that is encrypted in TLS 1.3.
const ALERT: u8 = 0x15;
const ENCRYPTED: u8 = 0x17;

pub(crate) struct Tls {
    session: UnbufferedServerConnection,
    /// Bytes of a record, or of a handshake, that is not whole. Without capacity while there are none.
    partial: Vec<u8>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing was answered: the expensive part is still to come.
    New,
    Handshaking,
    Established,
    /// It has failed, and can say nothing more.
    Failed,
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Box<Tls>, rustls::Error> {
        let session = UnbufferedServerConnection::new(config)?;
        Ok(Box::new(Tls { session, partial: Vec::new(), phase: Phase::New }))
    }

    pub(super) fn open(
        &mut self,
        wire: &[u8],
        shared: &mut Shared,
        counters: &Counters,
    ) -> Result<Opened, Ending> {
        if self.phase == Phase::New && self.has_hello(wire) {
            if !shared.may_begin() {
                self.partial.extend_from_slice(wire);
                self.check_partial()?;
                return Ok(Opened::Waits);
            }
            self.phase = Phase::Handshaking;
        }
        let mut bytes = std::mem::take(&mut shared.joined);
        bytes.extend_from_slice(&self.partial);
        bytes.extend_from_slice(wire);
        let (used, opened) = self.process(&mut bytes, shared, counters);
        self.partial = bytes.get(used..).unwrap_or_default().to_vec();
        Shared::keep(&mut shared.joined, bytes);
        if opened.is_err() {
            self.fail(counters);
        }
        self.check_partial()?;
        opened
    }

    /// Goes through the records; says how many bytes are done with.
    fn process(
        &mut self,
        bytes: &mut [u8],
        shared: &mut Shared,
        counters: &Counters,
    ) -> (usize, Result<Opened, Ending>) {
        let (mut used, mut opened) = (0, Opened::Done);
        loop {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut bytes[used..]);
            let mut beyond = 0;
            let blocked = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        beyond += record.discard;
                        shared.plain.extend_from_slice(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut shared.replies, 512, |out| data.encode(out).map_err(missing));
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    opened = Opened::Ended;
                    false
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.established(counters);
                    true
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => true,
                // Early data is not offered.
                Ok(_) => return (used, Err(broken("TLS: early data"))),
                Err(error) => {
                    self.alert(&mut bytes[used..], shared);
                    return (used, Err(broken(format!("TLS: {error}"))));
                }
            };
            used += discard + beyond;
            if blocked {
                return (used, Ok(opened));
            }
        }
    }

    /// What rustls still has to say after its failure: up to the alert, and not beyond it, for it would look at the bytes again.
    fn alert(&mut self, bytes: &mut [u8], shared: &mut Shared) {
        while let Ok(ConnectionState::EncodeTlsData(mut data)) = self.session.process_tls_records(bytes).state
        {
            let start = shared.replies.len();
            append(&mut shared.replies, RECORD_OVERHEAD, |out| data.encode(out).map_err(missing));
            if matches!(shared.replies.get(start), None | Some(&ALERT | &ENCRYPTED)) {
                break;
            }
        }
    }

    /// Appends the records of `plain`.
    pub(super) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Ending> {
        if self.phase != Phase::Established || plain.is_empty() {
            return Ok(());
        }
        // With what is not whole, since rustls remembers where in it a message began.
        let status = self.session.process_tls_records(&mut self.partial);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(broken("TLS: nothing more can be sealed"));
        };
        let room = plain.len() + (plain.len() / RECORD + 1) * RECORD_OVERHEAD;
        let sealed = append(wire, room, |out| traffic.encrypt(plain, out).map_err(needed));
        if sealed { Ok(()) } else { Err(broken("TLS: the keys are used up")) }
    }

    /// Appends that nothing more comes.
    pub(super) fn close(&mut self, wire: &mut Vec<u8>) {
        if self.phase != Phase::Established {
            return;
        }
        let status = self.session.process_tls_records(&mut self.partial);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
            append(wire, RECORD_OVERHEAD, |out| traffic.queue_close_notify(out).map_err(needed));
        }
    }

    /// Whether the bytes so far hold the whole first record: what comes before it costs nothing.
    fn has_hello(&self, wire: &[u8]) -> bool {
        let at = |index: usize| match index.checked_sub(self.partial.len()) {
            None => self.partial.get(index).copied(),
            Some(index) => wire.get(index).copied(),
        };
        let (Some(high), Some(low)) = (at(3), at(4)) else { return false };
        self.partial.len() + wire.len() >= 5 + usize::from(u16::from_be_bytes([high, low]))
    }

    fn established(&mut self, counters: &Counters) {
        if self.phase == Phase::Handshaking {
            self.phase = Phase::Established;
            match self.session.handshake_kind() {
                Some(HandshakeKind::Resumed) => counters.tls_resumed.add(1),
                _ => counters.tls_full.add(1),
            }
        }
    }

    fn fail(&mut self, counters: &Counters) {
        if self.phase != Phase::Established {
            counters.tls_failed.add(1);
        }
        self.phase = Phase::Failed;
    }

    /// Bytes of what is not whole.
    pub(super) fn kept_bytes(&self) -> usize {
        self.partial.capacity()
    }

    fn check_partial(&self) -> Result<(), Ending> {
        if self.partial.len() > MOST_PARTIAL { Err(broken("TLS: a message is too long")) } else { Ok(()) }
    }
}

fn missing(error: EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn needed(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Lets `write` append to the buffer, in about as much room as given or in as much as it asks for; false if it cannot.
fn append(
    buffer: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> bool {
    let start = buffer.len();
    loop {
        buffer.resize(start + room, 0);
        match write(&mut buffer[start..]) {
            Ok(written) => {
                buffer.truncate(start + written);
                return true;
            }
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => {
                buffer.truncate(start);
                return false;
            }
        }
    }
}
