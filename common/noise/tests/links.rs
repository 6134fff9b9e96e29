//! Both sides of a link against each other, in any pieces, and with anything changed.

use longline_noise::{HANDSHAKE_LEN, Initiator, NoiseError, PublicKey, Session, StaticKey, accept};
use proptest::collection::vec;
use proptest::prelude::*;

/// A device's and a room's end of one link.
fn link() -> (Session, Session) {
    let key = StaticKey::generate().expect("a key");
    let (mut initiator, message) = Initiator::new(&key.public()).expect("a message");
    let accepted = accept(&key, &message).expect("an answer").expect("an answer");
    (initiator.finish(&accepted.answer).expect("a link").expect("a link"), accepted.session)
}

fn sealed(session: &mut Session, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    session.seal(payload, &mut wire).expect("a sealed payload");
    wire
}

/// Reads as a connection does: what was not used is kept for the next piece.
fn read(session: &mut Session, pieces: impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>, NoiseError> {
    let (mut buffer, mut payload) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend(piece);
        let opened = session.open(&mut buffer)?;
        payload.extend_from_slice(&buffer[..opened.payload]);
        buffer.drain(..opened.used);
    }
    assert!(buffer.is_empty());
    Ok(payload)
}

#[test]
fn a_handshake_comes_in_any_pieces() {
    let key = StaticKey::generate().unwrap();
    let (mut initiator, message) = Initiator::new(&key.public()).unwrap();
    for cut in 0..HANDSHAKE_LEN {
        assert!(accept(&key, &message[..cut]).unwrap().is_none());
    }
    let accepted = accept(&key, &[&message[..], b"more"].concat()).unwrap().unwrap();
    for cut in 0..HANDSHAKE_LEN {
        assert!(initiator.finish(&accepted.answer[..cut]).unwrap().is_none());
    }
    assert!(initiator.finish(&[&accepted.answer[..], b"more"].concat()).unwrap().is_some());
}

#[test]
fn every_bit_of_a_handshake_counts() {
    let key = StaticKey::generate().unwrap();
    let (_, message) = Initiator::new(&key.public()).unwrap();
    for bit in 0..HANDSHAKE_LEN * 8 {
        let mut changed = message;
        changed[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit < 16 { NoiseError::BadHandshake } else { NoiseError::Forged };
        assert_eq!(accept(&key, &changed).map(drop), Err(expected), "bit {bit}");

        let (mut initiator, message) = Initiator::new(&key.public()).unwrap();
        let mut answer = accept(&key, &message).unwrap().unwrap().answer;
        answer[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(initiator.finish(&answer).map(drop), Err(expected), "bit {bit}");
    }
}

#[test]
fn only_the_owner_of_the_key_can_answer() {
    let (key, other) = (StaticKey::generate().unwrap(), StaticKey::generate().unwrap());
    let (mut initiator, message) = Initiator::new(&key.public()).unwrap();
    assert_eq!(accept(&other, &message).map(drop), Err(NoiseError::Forged));
    // An answer to another device's message is none to this one.
    let (_, foreign) = Initiator::new(&key.public()).unwrap();
    let answer = accept(&key, &foreign).unwrap().unwrap().answer;
    assert_eq!(initiator.finish(&answer).map(drop), Err(NoiseError::Forged));
}

#[test]
fn keys_that_give_every_secret_away_are_refused() {
    // Points of small order: the shared secret would be zero, whatever the other side's key.
    let zero = PublicKey::new([0; 32]);
    assert_eq!(Initiator::new(&zero).map(drop), Err(NoiseError::Forged));
    let mut one = [0; 32];
    one[0] = 1;
    assert_eq!(Initiator::new(&PublicKey::new(one)).map(drop), Err(NoiseError::Forged));
}

#[test]
fn records_out_of_order_or_repeated_do_not_open() {
    let (mut device, mut room) = link();
    let (first, second) = (sealed(&mut device, b"first"), sealed(&mut device, b"second"));
    assert_eq!(room.open(&mut second.clone()), Err(NoiseError::Forged));
    assert_eq!(read(&mut room, [first.clone()].into_iter()), Ok(b"first".to_vec()));
    assert_eq!(room.open(&mut first.clone()), Err(NoiseError::Forged));
    // A direction's records are not the other's.
    assert_eq!(device.open(&mut second.clone()), Err(NoiseError::Forged));
    assert_eq!(read(&mut room, [second].into_iter()), Ok(b"second".to_vec()));
}

#[test]
fn a_record_shorter_than_its_tag_is_refused_with_its_length() {
    let (_, mut room) = link();
    assert_eq!(room.open(&mut [0]).unwrap().used, 0);
    assert_eq!(room.open(&mut [0, 15]), Err(NoiseError::ShortRecord(15)));
    assert_eq!(room.open(&mut [0xff; 65_536]).unwrap().used, 0, "one byte is missing");
    assert_eq!(room.open(&mut [0xff; 65_537]), Err(NoiseError::Forged));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn payloads_come_out_the_same_in_any_pieces(
        payloads in vec(vec(any::<u8>(), 0..3000), 1..6),
        sizes in vec(1..700_usize, 1..10),
    ) {
        let (mut device, mut room) = link();
        let wire: Vec<u8> = payloads.iter().flat_map(|payload| sealed(&mut device, payload)).collect();
        let mut sizes = sizes.iter().cycle();
        let mut rest = wire.as_slice();
        let pieces = std::iter::from_fn(|| {
            let (piece, more) = rest.split_at((*sizes.next()?).min(rest.len()));
            rest = more;
            (!piece.is_empty()).then(|| piece.to_vec())
        });
        prop_assert_eq!(read(&mut room, pieces), Ok(payloads.concat()));
    }

    #[test]
    fn a_changed_bit_does_not_open(
        payload in vec(any::<u8>(), 1..300),
        bit in any::<prop::sample::Index>(),
    ) {
        let (mut device, mut room) = link();
        let mut wire = sealed(&mut device, &payload);
        let bit = bit.index(wire.len() * 8);
        wire[bit / 8] ^= 1 << (bit % 8);
        match room.open(&mut wire) {
            // A longer length: the record is not whole.
            Ok(opened) => prop_assert!(bit < 16 && opened.used == 0 && opened.payload == 0),
            Err(error) => prop_assert!(matches!(error, NoiseError::Forged | NoiseError::ShortRecord(_))),
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_take_more_than_there_is(mut bytes in vec(any::<u8>(), 0..200)) {
        let (mut device, mut room) = link();
        for session in [&mut device, &mut room] {
            if let Ok(opened) = session.open(&mut bytes) {
                prop_assert!(opened.payload <= opened.used && opened.used <= bytes.len());
            }
        }
        let key = StaticKey::generate().unwrap();
        prop_assert!(!matches!(accept(&key, &bytes), Ok(Some(_))));
        let framed = [&[0, 48], bytes.as_slice()].concat();
        prop_assert!(!matches!(accept(&key, &framed), Ok(Some(_))));
    }
}
