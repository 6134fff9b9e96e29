//! WebSocket: the request of the upgrade, then the payload of binary messages.

use longline_types::CloseReason;
use longline_websocket::{
    CloseCode, Control, Decoder, FrameHead, Side, decode_request, encode_close, encode_pong,
};

use super::broken;
use crate::session::Ending;

pub(super) struct WebSocket {
    state: State,
    /// What its close frame says, if it is not the session that closes.
    fault: Option<CloseCode>,
    closed: bool,
}

enum State {
    /// What has come of the request.
    Request(Vec<u8>),
    Frames(Decoder),
    /// The request was refused.
    Refused,
}

impl WebSocket {
    pub(super) fn new() -> Box<WebSocket> {
        Box::new(WebSocket { state: State::Request(Vec::new()), fault: None, closed: false })
    }

    /// Opens what came where it is. `answers` gets what is to be said at once; says whether the other side has closed.
    pub(super) fn open(
        &mut self,
        bytes: &mut Vec<u8>,
        path: &str,
        answers: &mut Vec<u8>,
    ) -> Result<bool, Ending> {
        if let State::Request(request) = &mut self.state {
            request.append(bytes);
            match decode_request(request, path) {
                Ok(None) => return Ok(false),
                Ok(Some((upgrade, used))) => {
                    upgrade.encode(answers);
                    bytes.extend_from_slice(&request[used..]);
                    self.state = State::Frames(Decoder::new(Side::Client));
                }
                Err(refusal) => {
                    refusal.encode(answers);
                    self.state = State::Refused;
                    return Err(broken(format!("WebSocket: {refusal}")));
                }
            }
        }
        let State::Frames(decoder) = &mut self.state else {
            bytes.clear();
            return Ok(false);
        };
        let (mut ping, mut closes) = (None, false);
        let payload = decoder.decode(bytes, |control| match control {
            // The last of several answers them all.
            Control::Ping(payload) => ping = Some(payload),
            Control::Pong => {}
            Control::Close(_) => closes = true,
        });
        bytes.truncate(*payload.as_ref().unwrap_or(&0));
        if let Some(ping) = ping {
            encode_pong(ping.as_ref(), None, answers);
        }
        if closes {
            self.fault = Some(CloseCode::Normal);
        }
        payload.map(|_| closes).map_err(|error| {
            self.fault = Some(error.code());
            broken(format!("WebSocket: {error}"))
        })
    }

    /// Bytes of a request that is not whole.
    pub(super) fn kept_bytes(&self) -> usize {
        match &self.state {
            State::Request(request) => request.capacity(),
            State::Frames(_) | State::Refused => 0,
        }
    }

    /// The head of the message that these bytes are, if they can be sent.
    pub(super) fn head(&self, length: usize) -> Option<FrameHead> {
        let open = matches!(self.state, State::Frames(_)) && self.fault.is_none() && !self.closed;
        open.then(|| FrameHead::of_server(length))
    }

    /// Appends the close frame.
    pub(super) fn close(&mut self, reason: CloseReason, out: &mut Vec<u8>) {
        if matches!(self.state, State::Frames(_)) && !std::mem::replace(&mut self.closed, true) {
            encode_close(self.fault.unwrap_or_else(|| code(reason)), None, out);
        }
    }
}

/// The client protocol's own reason is in its CLOSE, before; this is for those who do not look at that.
fn code(reason: CloseReason) -> CloseCode {
    match reason {
        CloseReason::ClientGone => CloseCode::Normal,
        CloseReason::Internal => CloseCode::Internal,
        reason if reason.may_return() => CloseCode::GoingAway,
        _ => CloseCode::Policy,
    }
}
