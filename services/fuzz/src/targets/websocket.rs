use longline_websocket::{
    ClientKey, Control, Decoder, LONGEST_REQUEST, PATH, Side, WebSocketError, decode_request, decode_response,
};

use super::pieces;

/// WebSocket. The first byte chooses between the request, the answer to it, and the frames of either side; of frames, the second byte is
/// the size of the pieces.
pub fn websocket(data: &[u8]) {
    match data.split_first() {
        Some((0, bytes)) => request(bytes),
        Some((1, bytes)) => response(bytes),
        Some((side, bytes)) => frames(if side & 1 == 0 { Side::Client } else { Side::Server }, bytes),
        None => {}
    }
}

/// No part of a request is taken for another answer than the whole.
fn request(bytes: &[u8]) {
    let whole = decode_request(bytes, PATH);
    // A request is parsed anew with each part, so not every one is tried.
    let step = 1 + bytes.len() / 64;
    for cut in (0..bytes.len()).step_by(step) {
        match decode_request(&bytes[..cut], PATH) {
            Ok(None) => assert!(cut < LONGEST_REQUEST),
            said => assert_eq!(said, whole, "at {cut}"),
        }
    }
    let mut answer = Vec::new();
    match whole {
        Ok(Some((upgrade, used))) => {
            assert!(used <= bytes.len() && used <= LONGEST_REQUEST);
            upgrade.encode(&mut answer);
        }
        Ok(None) => return,
        Err(refusal) => refusal.encode(&mut answer),
    }
    assert!(answer.starts_with(b"HTTP/1.1 ") && !answer.is_empty());
}

fn response(bytes: &[u8]) {
    if let Ok(Some(used)) = decode_response(bytes, &ClientKey::new(*b"the sample nonce")) {
        assert!(used <= bytes.len());
    }
}

/// Whole or in pieces, the same control frames and the same error come out, and, without one, the same payload.
fn frames(sender: Side, bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let whole = hear(sender, [bytes].into_iter());
    let heard = hear(sender, pieces(bytes, size));
    assert_eq!((&heard.controls, heard.error), (&whole.controls, whole.error));
    assert!(whole.error.is_some() || heard.payload == whole.payload);
    assert!(heard.payload.len() <= bytes.len());
}

#[derive(Default)]
struct Heard {
    payload: Vec<u8>,
    controls: Vec<Control>,
    error: Option<WebSocketError>,
}

fn hear<'a>(sender: Side, pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    let (mut decoder, mut heard) = (Decoder::new(sender), Heard::default());
    for piece in pieces {
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece, |control| heard.controls.push(control)) {
            Ok(length) => heard.payload.extend_from_slice(&piece[..length]),
            Err(error) => heard.error = Some(error),
        }
        if heard.error.is_some() || matches!(heard.controls.last(), Some(Control::Close(_))) {
            assert!(decoder.has_ended());
        }
    }
    heard
}
