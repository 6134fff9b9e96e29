//! The same handshake and records as another implementation's (snow), in both roles.

use longline_noise::{HANDSHAKE_LEN, Initiator, PREFACE, PublicKey, Session, StaticKey, accept};
use snow::{Builder, TransportState};

const PROTOCOL: &str = "Noise_NK_25519_ChaChaPoly_SHA256";

fn builder() -> Builder<'static> {
    Builder::new(PROTOCOL.parse().expect("a protocol")).prologue(&PREFACE).expect("a protocol")
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// Sends some payloads each way, more than one record of them.
fn talk(ours: &mut Session, theirs: &mut TransportState) {
    for payload in [b"".as_slice(), b"x", b"hello", &[7; 16_384], &[9; 16_385], &[1; 50_000]] {
        let mut wire = Vec::new();
        ours.seal(payload, &mut wire).expect("a sealed payload");
        assert_eq!(wire.len(), Session::sealed_len(payload.len()));
        let mut read = Vec::new();
        let mut rest = wire.as_slice();
        while let Some((head, after)) = rest.split_first_chunk::<2>() {
            let (record, after) = after.split_at(usize::from(u16::from_be_bytes(*head)));
            let mut plain = vec![0; record.len()];
            let length = theirs.read_message(record, &mut plain).expect("their opening");
            read.extend_from_slice(&plain[..length]);
            rest = after;
        }
        assert_eq!(read, payload);

        let mut record = vec![0; payload.len() + 16];
        let length = theirs.write_message(payload, &mut record).expect("their sealing");
        let mut wire = framed(&record[..length]);
        let opened = ours.open(&mut wire).expect("an opened record");
        assert_eq!((opened.used, &wire[..opened.payload]), (wire.len(), payload));
    }
}

#[test]
fn our_room_and_their_device() {
    let key = StaticKey::generate().unwrap();
    let mut device = builder().remote_public_key(key.public().as_bytes()).unwrap().build_initiator().unwrap();
    let mut message = [0; 100];
    let length = device.write_message(&[], &mut message).unwrap();
    let message = framed(&message[..length]);
    assert_eq!(message.len(), HANDSHAKE_LEN);
    let mut accepted = accept(&key, &message).unwrap().unwrap();
    device.read_message(&accepted.answer[2..], &mut []).unwrap();
    talk(&mut accepted.session, &mut device.into_transport_mode().unwrap());
}

#[test]
fn their_room_and_our_device() {
    let key = builder().generate_keypair().unwrap();
    let mut room = builder().local_private_key(&key.private).unwrap().build_responder().unwrap();
    let public = PublicKey::new(key.public.try_into().unwrap());
    let (mut initiator, message) = Initiator::new(&public).unwrap();
    room.read_message(&message[2..], &mut []).unwrap();
    let mut answer = [0; 100];
    let length = room.write_message(&[], &mut answer).unwrap();
    let mut session = initiator.finish(&framed(&answer[..length])).unwrap().unwrap();
    talk(&mut session, &mut room.into_transport_mode().unwrap());
}

#[test]
fn another_prologue_is_another_handshake() {
    let key = StaticKey::generate().unwrap();
    let mut device = Builder::new(PROTOCOL.parse().unwrap())
        .remote_public_key(key.public().as_bytes())
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut message = [0; 100];
    let length = device.write_message(&[], &mut message).unwrap();
    assert!(accept(&key, &framed(&message[..length])).is_err());
}
