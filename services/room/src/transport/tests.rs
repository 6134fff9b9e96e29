//! The layers against real clients, without sockets.

use proptest::prelude::*;

use super::testing::{Authority, read, sealed, sent};
use super::*;

/// The room's side of one connection.
struct Side {
    transport: Option<Box<Transport>>,
    shared: Shared,
    counters: Counters,
    /// What was opened so far.
    plain: Vec<u8>,
}

impl Side {
    fn new(transports: &Transports) -> Side {
        let settings = std::sync::Arc::new(transports.clone());
        let shared = Shared { settings, handshakes: 1000, ..Shared::default() };
        Side { transport: None, shared, counters: Counters::default(), plain: Vec::new() }
    }

    /// Takes bytes; says what is answered.
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Ending> {
        let Some(first) = bytes.first() else { return Ok(Vec::new()) };
        if self.transport.is_none() {
            self.transport = Transport::begun_by(*first, &self.shared);
        }
        let Some(transport) = &mut self.transport else { panic!("no transport begins with {first:#x}") };
        let opened = transport.open(bytes, &mut self.shared, &self.counters);
        self.plain.extend_from_slice(&self.shared.plain);
        opened.map(|_| self.shared.replies.clone())
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.transport.as_mut().unwrap().seal(plain, &mut wire, &mut self.shared).unwrap();
        wire
    }
}

/// `bytes` in pieces of these lengths, again and again.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).clamp(1, bytes.len().max(1)).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn tls_opens_the_same_however_its_bytes_are_split(
        lengths in prop::collection::vec(1usize..3000, 1..8),
        up in prop::collection::vec(any::<u8>(), 1..40_000),
        down in prop::collection::vec(any::<u8>(), 1..40_000),
    ) {
        let authority = Authority::new();
        let (mut client, mut side) = (authority.client(), Side::new(&authority.transports));
        while client.is_handshaking() {
            let flight = sent(&mut client);
            for piece in pieces(&flight, &lengths) {
                let replies = side.take(piece).unwrap();
                read(&mut client, &replies);
            }
        }
        let flight = sealed(&mut client, &up);
        for piece in pieces(&flight, &lengths) {
            let replies = side.take(piece).unwrap();
            prop_assert!(read(&mut client, &replies).is_empty());
        }
        prop_assert!(side.plain == up);
        let wire = side.seal(&down);
        prop_assert!(wire.len() <= down.len() + 100 * (1 + down.len() / 16_000));
        prop_assert!(read(&mut client, &wire) == down);
    }

    #[test]
    fn garbage_ends_a_handshake_and_nothing_else(
        garbage in prop::collection::vec(any::<u8>(), 0..2000),
        lengths in prop::collection::vec(1usize..500, 1..4),
    ) {
        let authority = Authority::new();
        let mut side = Side::new(&authority.transports);
        let bytes = [&[TLS_HANDSHAKE], garbage.as_slice()].concat();
        for piece in pieces(&bytes, &lengths) {
            if let Err(ending) = side.take(piece) {
                prop_assert_eq!(ending.reason, CloseReason::BadTransport);
                prop_assert_eq!(side.counters.tls_failed.read(), 1);
                prop_assert!(side.seal(b"nobody can read this").is_empty());
                break;
            }
        }
        prop_assert!(side.plain.is_empty());
    }

    #[test]
    fn garbage_after_the_handshake_is_never_opened(garbage in prop::collection::vec(any::<u8>(), 30..2000)) {
        let authority = Authority::new();
        let (mut client, mut side) = (authority.client(), Side::new(&authority.transports));
        while client.is_handshaking() {
            let replies = side.take(&sent(&mut client)).unwrap();
            read(&mut client, &replies);
        }
        let record = [&[0x17, 3, 3, 0, 25], garbage.as_slice()].concat();
        prop_assert!(side.take(&sent(&mut client)).is_ok());
        prop_assert_eq!(side.take(&record).unwrap_err().reason, CloseReason::BadTransport);
        prop_assert!(side.plain.is_empty());
        prop_assert_eq!(side.counters.tls_failed.read(), 0);
    }
}

#[test]
fn a_handshake_waits_for_its_turn() {
    let authority = Authority::new();
    let (mut client, mut side) = (authority.client(), Side::new(&authority.transports));
    side.shared.handshakes = 0;
    side.take(&sent(&mut client)).unwrap();
    let transport = side.transport.as_mut().unwrap();
    assert_eq!(transport.open(&[], &mut side.shared, &side.counters), Ok(Opened::Waits));
    side.shared.handshakes = 1;
    assert_eq!(transport.open(&[], &mut side.shared, &side.counters), Ok(Opened::Done));
    assert_eq!(side.shared.handshakes, 0);
    assert!(!side.shared.replies.is_empty(), "the server's flight");
    read(&mut client, &side.shared.replies);
    assert!(!client.is_handshaking());
}

#[test]
fn an_idle_connection_keeps_no_bytes_and_ends_with_a_last_word() {
    let authority = Authority::new();
    let (mut client, mut side) = (authority.client(), Side::new(&authority.transports));
    while client.is_handshaking() {
        let replies = side.take(&sent(&mut client)).unwrap();
        read(&mut client, &replies);
    }
    let replies = side.take(&sealed(&mut client, b"hello")).unwrap();
    read(&mut client, &replies);
    let transport = side.transport.as_mut().unwrap();
    assert_eq!(transport.tls.as_ref().unwrap().kept_bytes(), 0);
    assert!(transport.is_to_be_closed());
    let mut wire = Vec::new();
    transport.close(CloseReason::GoingAway, &mut wire);
    client.read_tls(&mut wire.as_slice()).unwrap();
    assert!(client.process_new_packets().unwrap().peer_has_closed());
    wire.clear();
    transport.close(CloseReason::GoingAway, &mut wire);
    assert!(wire.is_empty(), "once");
    client.send_close_notify();
    let transport = side.transport.as_mut().unwrap();
    let opened = transport.open(&sent(&mut client), &mut side.shared, &side.counters);
    assert_eq!(opened, Ok(Opened::Ended));
}

#[test]
fn a_failed_handshake_says_why() {
    let authority = Authority::new();
    let mut client = (*authority.client).clone();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = rustls::ClientConnection::new(client.into(), "localhost".try_into().unwrap()).unwrap();
    let mut side = Side::new(&authority.transports);
    assert!(side.take(&sent(&mut client)).is_err());
    client.read_tls(&mut side.shared.replies.as_slice()).unwrap();
    let error = client.process_new_packets().unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}
