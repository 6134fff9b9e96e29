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
        let known = transport.client().is_some();
        let mut opened = transport.open(bytes, &mut self.shared, &self.counters);
        if !known && transport.client().is_some() {
            assert!(self.shared.plain.is_empty(), "nothing is read before the device may connect");
            opened = transport.open(&[], &mut self.shared, &self.counters);
        }
        self.plain.extend_from_slice(&self.shared.plain);
        opened.map(|_| self.shared.replies.clone())
    }

    /// The preface was that of Noise, and these bytes came with it.
    fn begin_noise(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Ending> {
        let transport = self.transport.get_or_insert_with(Transport::bare);
        transport.begin_noise(bytes, &mut self.shared)?;
        self.plain.extend_from_slice(&self.shared.plain);
        Ok(self.shared.replies.clone())
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
        // A first byte of its own: that of a WebSocket's request would begin one.
        let up = [&b"L"[..], &up[..]].concat();
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
    fn websocket_opens_the_same_however_its_bytes_are_split(
        lengths in prop::collection::vec(1usize..300, 1..8),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..8),
    ) {
        let mut side = Side::new(&Transports::default());
        let mut wire = Vec::new();
        let key = longline_websocket::ClientKey::new([7; 16]);
        longline_websocket::encode_request("room", longline_websocket::PATH, &key, &mut wire).unwrap();
        for message in &messages {
            longline_websocket::encode_ping(b"there?", Some([9; 4]), &mut wire);
            longline_websocket::encode_data(message, Some([1, 2, 3, 4]), &mut wire);
        }
        let mut answers = Vec::new();
        for piece in pieces(&wire, &lengths) {
            answers.extend(side.take(piece).unwrap());
        }
        prop_assert!(side.plain == messages.concat());
        let used = longline_websocket::decode_response(&answers, &key).unwrap().unwrap();
        let (mut decoder, mut pongs) =
            (longline_websocket::Decoder::new(longline_websocket::Side::Server), 0);
        let payload = decoder.decode(&mut answers[used..], |_| pongs += 1).unwrap();
        prop_assert_eq!(payload, 0);
        prop_assert!((1..=messages.len()).contains(&pongs));
        let mut down = side.seal(&messages.concat());
        let payload = decoder.decode(&mut down, |_| ()).unwrap();
        prop_assert!(down[..payload] == messages.concat());
    }

    #[test]
    fn noise_opens_the_same_however_its_bytes_are_split(
        lengths in prop::collection::vec(1usize..300, 1..8),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 1..8),
        early in 0usize..=50,
    ) {
        let key = std::sync::Arc::new(longline_noise::StaticKey::generate().unwrap());
        let mut side = Side::new(&Transports::default().with_noise(std::sync::Arc::clone(&key)));
        let (mut initiator, message) = longline_noise::Initiator::new(&key.public()).unwrap();
        let mut answers = side.begin_noise(&message[..early]).unwrap();
        for piece in pieces(&message[early..], &lengths) {
            answers.extend(side.take(piece).unwrap());
        }
        let mut session = initiator.finish(&answers).unwrap().unwrap();
        let mut wire = Vec::new();
        messages.iter().for_each(|message| session.seal(message, &mut wire).unwrap());
        for piece in pieces(&wire, &lengths) {
            prop_assert!(side.take(piece).unwrap().is_empty());
        }
        prop_assert!(side.plain == messages.concat());
        let mut down = side.seal(&messages.concat());
        let opened = session.open(&mut down).unwrap();
        prop_assert_eq!(opened.used, down.len());
        prop_assert!(down[..opened.payload] == messages.concat());
    }

    #[test]
    fn a_header_of_a_proxy_is_read_the_same_however_it_is_split(
        lengths in prop::collection::vec(1usize..40, 1..8),
        text in any::<bool>(),
    ) {
        let addresses = longline_proxy::Addresses {
            source: "192.0.2.7:4711".parse().unwrap(),
            destination: "192.0.2.1:443".parse().unwrap(),
        };
        let mut wire = Vec::new();
        if text {
            longline_proxy::encode_v1(Some(addresses), &mut wire);
        } else {
            longline_proxy::encode_v2(Some(addresses), &mut wire);
        }
        wire.extend_from_slice(b"LL and more");
        let mut side = Side::new(&Transports::default());
        side.transport = Some(Transport::behind_proxy());
        for piece in pieces(&wire, &lengths) {
            side.take(piece).unwrap();
        }
        prop_assert_eq!(side.transport.as_ref().unwrap().client(), Some(addresses.source));
        prop_assert!(side.plain == b"LL and more");
    }

    #[test]
    fn garbage_behind_any_first_byte_never_panics(
        first in prop::sample::select(b"GP\rL\x16".as_slice()),
        garbage in prop::collection::vec(any::<u8>(), 0..1000),
        lengths in prop::collection::vec(1usize..100, 1..4),
        noise in any::<bool>(),
    ) {
        let key = std::sync::Arc::new(longline_noise::StaticKey::generate().unwrap());
        let mut side = Side::new(&Authority::new().transports.with_noise(key));
        side.transport = Some(Transport::behind_proxy());
        if noise && side.begin_noise(&garbage).is_err() {
            return Ok(());
        }
        for piece in pieces(&[&[first], garbage.as_slice()].concat(), &lengths) {
            if side.take(piece).is_err() {
                break;
            }
            let _ = side.seal(b"words");
        }
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
fn what_noise_cannot_open_never_reaches_the_session() {
    let key = std::sync::Arc::new(longline_noise::StaticKey::generate().unwrap());
    let settings = Transports::default().with_noise(std::sync::Arc::clone(&key));
    let mut forged = vec![0, 48];
    forged.extend_from_slice(&[7; 48]);
    let mut side = Side::new(&settings);
    assert_eq!(side.begin_noise(&forged).unwrap_err().reason, CloseReason::BadTransport);
    assert!(side.shared.plain.is_empty());

    let mut side = Side::new(&settings);
    let (mut initiator, message) = longline_noise::Initiator::new(&key.public()).unwrap();
    let answer = side.begin_noise(&message).unwrap();
    let mut session = initiator.finish(&answer).unwrap().unwrap();
    let mut record = Vec::new();
    session.seal(b"a frame", &mut record).unwrap();
    record[4] ^= 1;
    assert_eq!(side.take(&record).unwrap_err().reason, CloseReason::BadTransport);
    assert!(side.plain.is_empty() && side.shared.plain.is_empty());
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

/// `cargo test --release -p longline-room --lib handshake_of_noise_costs -- --ignored --nocapture`
#[test]
#[ignore = "compares times"]
fn a_handshake_of_noise_costs_no_more_than_one_of_tls() {
    const HANDSHAKES: u32 = 500;
    let mut authority = Authority::new();
    let mut client = (*authority.client).clone();
    client.resumption = rustls::client::Resumption::disabled();
    authority.client = client.into();
    let key = std::sync::Arc::new(longline_noise::StaticKey::generate().unwrap());
    let transports = authority.transports.clone().with_noise(std::sync::Arc::clone(&key));
    let (mut tls, mut noise) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    for _ in 0..HANDSHAKES {
        let (mut client, mut side) = (authority.client(), Side::new(&transports));
        while client.is_handshaking() {
            let flight = sent(&mut client);
            let begun = std::time::Instant::now();
            let replies = side.take(&flight).unwrap();
            tls += begun.elapsed();
            read(&mut client, &replies);
        }
        let (mut initiator, message) = longline_noise::Initiator::new(&key.public()).unwrap();
        let mut side = Side::new(&transports);
        let begun = std::time::Instant::now();
        let answer = side.begin_noise(&message).unwrap();
        noise += begun.elapsed();
        assert!(initiator.finish(&answer).unwrap().is_some());
    }
    println!("TLS 1.3, P-256: {:?}; Noise: {:?}", tls / HANDSHAKES, noise / HANDSHAKES);
    assert!(noise <= tls, "Noise {noise:?}, TLS {tls:?}");
}
