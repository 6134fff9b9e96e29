use std::sync::LazyLock;

use longline_noise::{HANDSHAKE_LEN, Initiator, NoiseError, Session, StaticKey, accept};

use super::pieces;

/// Noise. The first byte chooses: a device's message, a room's answer, or a link. Of a link, two bytes are the size of the pieces and of the
/// payload before the rest, four say where a bit is changed, and the rest is payload and foreign bytes.
///
/// Only what the other side has made is taken; a link gives back what was put into it, and nothing after a change.
pub fn noise(data: &[u8]) {
    match data.split_first() {
        Some((0, bytes)) => message(bytes),
        Some((1, bytes)) => answer(bytes),
        Some((_, bytes)) => link(bytes),
        None => {}
    }
}

/// The same in every run, so that inputs can be tried again.
static KEY: LazyLock<StaticKey> =
    LazyLock::new(|| StaticKey::from_file(&[0x4c; 32]).expect("any 32 bytes are a key"));

fn message(bytes: &[u8]) {
    // A message that a device made, with a byte of it changed.
    if let Some(&[at, change]) = bytes.first_chunk() {
        let (_, mut message) = Initiator::new(&KEY.public()).expect("a message");
        message[usize::from(at) % HANDSHAKE_LEN] ^= change;
        assert_eq!(accept(&KEY, &message).is_ok_and(|accepted| accepted.is_some()), change == 0);
    }
    // Nobody makes one by chance: a seed would have to be made for the key.
    match accept(&KEY, bytes) {
        Ok(None) => assert!(bytes.len() < HANDSHAKE_LEN),
        Ok(Some(_)) => panic!("a message that nobody made"),
        Err(error) => assert!(matches!(error, NoiseError::BadHandshake | NoiseError::Forged)),
    }
}

fn answer(bytes: &[u8]) {
    let (mut initiator, _) = Initiator::new(&KEY.public()).expect("a message");
    match initiator.finish(bytes) {
        Ok(None) => assert!(bytes.len() < HANDSHAKE_LEN),
        Ok(Some(_)) => panic!("an answer that nobody made"),
        Err(error) => assert!(matches!(error, NoiseError::BadHandshake | NoiseError::Forged)),
    }
}

fn link(bytes: &[u8]) {
    let Some((&[size, split, a, b, c, d], rest)) = bytes.split_first_chunk() else { return };
    let (mut initiator, message) = Initiator::new(&KEY.public()).expect("a message");
    let accepted = accept(&KEY, &message).expect("no error").expect("an answer");
    let mut device = initiator.finish(&accepted.answer).expect("no error").expect("a link");
    let mut room = accepted.session;

    let (payload, foreign) = rest.split_at(rest.len() * usize::from(split) / 255);
    let mut wire = Vec::new();
    device.seal(payload, &mut wire).expect("a record");
    assert_eq!(wire.len(), Session::sealed_len(payload.len()));
    assert_eq!(read(&mut room, pieces(&wire, size)), (payload.to_vec(), Ok(())));

    // What nobody has made does not open.
    let (opened, _) = read(&mut room, pieces(foreign, size));
    assert!(opened.is_empty());

    // Nor does what was changed.
    wire.clear();
    room.seal(payload, &mut wire).expect("a record");
    if let Some(bits) = (wire.len() * 8).checked_sub(1).filter(|bits| *bits > 0) {
        let bit = u32::from_le_bytes([a, b, c, d]) as usize % bits;
        wire[bit / 8] ^= 1 << (bit % 8);
        let (opened, _) = read(&mut device, pieces(&wire, size));
        assert!(payload.starts_with(&opened) && opened.len() < payload.len());
    }
}

/// The payload up to the first error.
fn read<'a>(
    session: &mut Session,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<u8>, Result<(), NoiseError>) {
    let (mut buffer, mut payload) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        match session.open(&mut buffer) {
            Ok(opened) => {
                assert!(opened.payload <= opened.used && opened.used <= buffer.len());
                payload.extend_from_slice(&buffer[..opened.payload]);
                buffer.drain(..opened.used);
            }
            Err(error) => return (payload, Err(error)),
        }
    }
    (payload, Ok(()))
}
