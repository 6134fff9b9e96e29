//! What a device says: from bytes to what is to be done, without a socket.

use longline_pb::client::{self, Ack};
use longline_types::CloseReason;
use longline_types::limits::{ACK_IDS, BINDS};
use longline_wire::{FrameRef, FrameType, Limits, PREFACE_LEN, WireError, decode, decode_preface};
use prost::Message as _;

use crate::users::USERS;

/// Longest HELLO that is accepted: one bind with a token fits.
const HELLO: usize = 8 * 1024;
/// For a device that has no wish.
const HEARTBEAT_S: u32 = 240;

/// Something that a device said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard<'a> {
    Hello(Greeting),
    Ping,
    /// Messages of these ids are safe.
    Acked(&'a [u64]),
    /// Data for the business, with this sequence.
    Uplink(u64),
    /// The device's goodbye.
    Bye,
}

/// What matters of a HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Greeting {
    /// The user's number.
    pub(crate) user: u32,
    /// The bind's index.
    pub(crate) bind: u8,
    /// The longest interval that the device can keep.
    pub(crate) heartbeat_s: u32,
}

/// How far the conversation is, and the bytes of a frame that has not come whole. An idle session owns no buffer.
#[derive(Default)]
pub(crate) struct Session {
    #[expect(
        clippy::box_collection,
        reason = "8 bytes in each session instead of 24, and hardly ever there"
    )]
    partial: Option<Box<Vec<u8>>>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Preface,
    Hello,
    Open,
}

/// What all sessions share to understand a frame: nothing is allocated for an ACK.
pub(crate) struct Ears {
    ack: Ack,
    limits: Limits,
}

impl Default for Ears {
    fn default() -> Ears {
        Ears { ack: Ack::default(), limits: Limits::FROM_DEVICE.tightened(FrameType::Hello, HELLO) }
    }
}

impl Session {
    /// Takes bytes as they come and tells what was said, in order. After an error the connection is to be closed.
    pub(crate) fn received(
        &mut self,
        bytes: &[u8],
        ears: &mut Ears,
        mut hear: impl FnMut(Heard<'_>),
    ) -> Result<(), CloseReason> {
        match self.partial.take() {
            None => {
                let used = self.walk(bytes, ears, &mut hear)?;
                if used < bytes.len() {
                    self.partial = Some(Box::new(bytes[used..].to_vec()));
                }
            }
            Some(mut joined) => {
                joined.extend_from_slice(bytes);
                let used = self.walk(&joined, ears, &mut hear)?;
                if used < joined.len() {
                    joined.drain(..used);
                    joined.shrink_to(2 * joined.len());
                    self.partial = Some(joined);
                }
            }
        }
        Ok(())
    }

    /// Whether HELLO has come.
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Goes over the whole frames; says how many bytes they took.
    fn walk(
        &mut self,
        bytes: &[u8],
        ears: &mut Ears,
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Result<usize, CloseReason> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            if self.stage == Stage::Preface {
                if decode_preface(rest)?.is_none() {
                    break;
                }
                used += PREFACE_LEN;
                self.stage = Stage::Hello;
            } else {
                let Some((frame, taken)) = decode(rest, &ears.limits)? else { break };
                used += taken;
                self.frame(frame, &mut ears.ack, hear)?;
            }
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        frame: FrameRef<'_>,
        ack: &mut Ack,
        hear: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), CloseReason> {
        match (self.stage, frame.kind) {
            (Stage::Open, FrameType::Ack) => {
                ack.clear();
                ack.merge(frame.body).map_err(|_| WireError::BadBody(frame.kind))?;
                if ack.ids.len() > ACK_IDS {
                    return Err(CloseReason::BadField);
                }
                hear(Heard::Acked(&ack.ids));
            }
            (Stage::Open, FrameType::Ping) => hear(Heard::Ping),
            (Stage::Open, FrameType::Uplink) => {
                hear(Heard::Uplink(frame.parse::<client::Uplink>()?.sequence));
            }
            // One bind is all that is served here, and there is no answer that would not be a lie.
            (Stage::Open, FrameType::Bind | FrameType::Unbind) => {}
            (Stage::Hello, FrameType::Hello) => {
                let greeting = greeting(&frame.parse()?).ok_or(CloseReason::BadField)?;
                self.stage = Stage::Open;
                hear(Heard::Hello(greeting));
            }
            (_, FrameType::Close) => hear(Heard::Bye),
            _ => return Err(CloseReason::UnexpectedFrame),
        }
        Ok(())
    }
}

/// None if there is not exactly one bind with a good index for a user with a number.
fn greeting(hello: &client::Hello) -> Option<Greeting> {
    let [bind] = hello.binds.as_slice() else { return None };
    let index = u8::try_from(bind.index).ok().filter(|index| usize::from(*index) < BINDS)?;
    let (_, number) = bind.user.rsplit_once('-')?;
    let digits_only = number.bytes().all(|byte| byte.is_ascii_digit());
    let heartbeat_s = match (hello.heartbeat_min_s, hello.heartbeat_max_s) {
        (min, 0) => HEARTBEAT_S.max(min),
        (_, max) => max,
    };
    let user = number.parse().ok().filter(|user| digits_only && *user < USERS)?;
    Some(Greeting { user, bind: index, heartbeat_s })
}

#[cfg(test)]
mod tests {
    use longline_pb::client::{Bind, Close, Hello, Uplink};
    use longline_wire::{PREFACE, encode, encode_empty};

    use super::*;

    fn hello(user: &str) -> Hello {
        let bind = Bind { index: 3, product: 1, user: user.into(), ..Bind::default() };
        Hello { device: "d".into(), binds: vec![bind], ..Hello::default() }
    }

    fn opening(hello: &Hello) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        encode(hello, &mut bytes).unwrap();
        bytes
    }

    fn conversation() -> Vec<u8> {
        let mut bytes = opening(&hello("run-a-17"));
        encode(&Ack { index: 3, ids: vec![5, 1 << 60] }, &mut bytes).unwrap();
        encode_empty(FrameType::Ping, &mut bytes).unwrap();
        encode(&Bind::default(), &mut bytes).unwrap();
        encode(&Uplink { index: 3, sequence: 9, payload: vec![1; 300].into(), route: 1 }, &mut bytes)
            .unwrap();
        encode(&Ack { index: 3, ids: vec![6] }, &mut bytes).unwrap();
        encode(&Close { reason: 1007, ..Close::default() }, &mut bytes).unwrap();
        bytes
    }

    /// What was said, in words, and how it ended.
    fn listen(pieces: &[&[u8]]) -> (Vec<String>, Result<(), CloseReason>) {
        let (mut session, mut ears, mut said) = (Session::default(), Ears::default(), Vec::new());
        for piece in pieces {
            let result = session.received(piece, &mut ears, |heard| said.push(format!("{heard:?}")));
            if result.is_err() {
                return (said, result);
            }
        }
        assert!(session.partial.is_none(), "an idle session owns no buffer");
        (said, Ok(()))
    }

    fn refused(bytes: &[u8]) -> CloseReason {
        listen(&[bytes]).1.unwrap_err()
    }

    #[test]
    fn a_conversation_is_understood_in_any_two_pieces() {
        let bytes = conversation();
        let said = listen(&[&bytes]);
        assert_eq!(
            said.0,
            [
                "Hello(Greeting { user: 17, bind: 3, heartbeat_s: 240 })",
                "Acked([5, 1152921504606846976])",
                "Ping",
                "Uplink(9)",
                "Acked([6])",
                "Bye"
            ]
        );
        for cut in 0..bytes.len() {
            assert_eq!(listen(&[&bytes[..cut], &bytes[cut..]]), said, "cut at {cut}");
        }
        assert_eq!(listen(&bytes.chunks(1).collect::<Vec<_>>()), said);
    }

    #[test]
    fn the_heartbeat_is_the_longest_the_device_can_keep() {
        for (min, max, chosen) in [(0, 0, 240), (60, 120, 120), (300, 0, 300), (60, 0, 240)] {
            let hello = Hello { heartbeat_min_s: min, heartbeat_max_s: max, ..hello("u-1") };
            assert_eq!(greeting(&hello).unwrap().heartbeat_s, chosen);
        }
    }

    #[test]
    fn a_user_without_a_number_or_another_number_of_binds_is_refused() {
        for user in ["alice", "a-", "a-+1", "a-1x", "a-4194304", "a-4294967296", ""] {
            assert_eq!(refused(&opening(&hello(user))), CloseReason::BadField, "{user}");
        }
        for binds in [vec![], vec![hello("u-1").binds[0].clone(); 2]] {
            assert_eq!(refused(&opening(&Hello { binds, ..hello("u-1") })), CloseReason::BadField);
        }
        let mut far = hello("u-1");
        far.binds[0].index = 16;
        assert_eq!(refused(&opening(&far)), CloseReason::BadField);
    }

    #[test]
    fn what_is_not_the_protocol_is_refused_with_its_reason() {
        let after_hello = |more: &[u8]| refused(&[&opening(&hello("u-1"))[..], more].concat());
        let mut too_many = Vec::new();
        encode(&Ack { index: 3, ids: vec![1; ACK_IDS + 1] }, &mut too_many).unwrap();
        assert_eq!(refused(b"GET / HTTP/1.1"), CloseReason::BadPreface);
        assert_eq!(refused(b"LL\x09\x00"), CloseReason::UnsupportedVersion);
        assert_eq!(refused(b"LL\x01\x00\x0a\x00"), CloseReason::UnexpectedFrame);
        assert_eq!(refused(b"LL\x01\x00\x01\xff\xff\x01"), CloseReason::FrameTooLong);
        assert_eq!(after_hello(&opening(&hello("u-1"))[4..]), CloseReason::UnexpectedFrame);
        assert_eq!(after_hello(&[6, 0]), CloseReason::UnknownFrame);
        assert_eq!(after_hello(&[7, 1, 0xff]), CloseReason::BadBody);
        assert_eq!(after_hello(&too_many), CloseReason::BadField);
    }
}
