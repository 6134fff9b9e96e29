//! The types of frames: their numbers, who sends them, and how long they may be.

use std::fmt;

/// The type of a frame; the number is its first byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FrameType {
    /// Device: the first frame of a connection.
    Hello = 1,
    /// Room: the answer to HELLO.
    Welcome = 2,
    /// Device: receive messages of one more address.
    Bind = 3,
    /// Device: no longer receive messages of an address.
    Unbind = 4,
    /// Room: how a bind stands now.
    Bound = 5,
    /// Room: a message.
    Push = 6,
    /// Device: messages are safe.
    Ack = 7,
    /// Device: data for the business.
    Uplink = 8,
    /// Room: what became of an UPLINK.
    UplinkAck = 9,
    /// Device: heartbeat, without a body.
    Ping = 10,
    /// Room: the answer to PING, without a body.
    Pong = 11,
    /// Room: do something, such as reconnect elsewhere.
    Directive = 12,
    /// Both: the last frame of a connection, with the reason.
    Close = 13,
}

impl FrameType {
    /// Every type, by number.
    pub const ALL: [FrameType; 13] = [
        FrameType::Hello,
        FrameType::Welcome,
        FrameType::Bind,
        FrameType::Unbind,
        FrameType::Bound,
        FrameType::Push,
        FrameType::Ack,
        FrameType::Uplink,
        FrameType::UplinkAck,
        FrameType::Ping,
        FrameType::Pong,
        FrameType::Directive,
        FrameType::Close,
    ];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The type with this number, if there is one.
    pub fn from_number(number: u8) -> Option<FrameType> {
        FrameType::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }

    /// Longest body in bytes; for PUSH with the byte that precedes it.
    pub const fn limit(self) -> usize {
        match self {
            FrameType::Hello => 80 * 1024,
            FrameType::Bind | FrameType::Welcome => 8 * 1024,
            FrameType::Unbind => 16,
            FrameType::Push => 70 * 1024,
            FrameType::Ack => 16 * 1024,
            FrameType::Uplink => 66 * 1024,
            FrameType::Ping | FrameType::Pong => 0,
            FrameType::Bound | FrameType::UplinkAck | FrameType::Directive | FrameType::Close => 1024,
        }
    }

    /// Whether this side sends frames of this type.
    pub const fn is_sent_by(self, sender: Sender) -> bool {
        match self {
            FrameType::Hello
            | FrameType::Bind
            | FrameType::Unbind
            | FrameType::Ack
            | FrameType::Uplink
            | FrameType::Ping => matches!(sender, Sender::Device),
            FrameType::Welcome
            | FrameType::Bound
            | FrameType::Push
            | FrameType::UplinkAck
            | FrameType::Pong
            | FrameType::Directive => matches!(sender, Sender::Room),
            FrameType::Close => true,
        }
    }

    /// Its name as the documentation writes it.
    pub const fn name(self) -> &'static str {
        match self {
            FrameType::Hello => "HELLO",
            FrameType::Welcome => "WELCOME",
            FrameType::Bind => "BIND",
            FrameType::Unbind => "UNBIND",
            FrameType::Bound => "BOUND",
            FrameType::Push => "PUSH",
            FrameType::Ack => "ACK",
            FrameType::Uplink => "UPLINK",
            FrameType::UplinkAck => "UPLINK_ACK",
            FrameType::Ping => "PING",
            FrameType::Pong => "PONG",
            FrameType::Directive => "DIRECTIVE",
            FrameType::Close => "CLOSE",
        }
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    /// The client.
    Device,
    /// The cluster's gateway.
    Room,
}

/// What a decoder accepts: the types one side sends, each up to a length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest body by type number minus one; none for a type that is not accepted.
    longest: [Option<u32>; FrameType::ALL.len()],
}

impl Limits {
    /// What a room accepts from a device.
    pub const FROM_DEVICE: Limits = Limits::of(Sender::Device);
    /// What a device accepts from a room.
    pub const FROM_ROOM: Limits = Limits::of(Sender::Room);

    /// The protocol's limits for what this side sends.
    pub const fn of(sender: Sender) -> Limits {
        let mut longest = [None; FrameType::ALL.len()];
        let mut i = 0;
        while i < longest.len() {
            let kind = FrameType::ALL[i];
            if kind.is_sent_by(sender) {
                longest[i] = Some(kind.limit() as u32);
            }
            i += 1;
        }
        Limits { longest }
    }

    /// The same with bodies of `kind` up to `bytes` only. Never accepts more than before.
    #[must_use]
    pub fn tightened(mut self, kind: FrameType, bytes: usize) -> Limits {
        let slot = &mut self.longest[usize::from(kind.number() - 1)];
        *slot = slot.map(|old| old.min(u32::try_from(bytes).unwrap_or(u32::MAX)));
        self
    }

    /// Longest body of this type in bytes; none if it is not accepted at all.
    pub fn longest(&self, kind: FrameType) -> Option<usize> {
        self.longest[usize::from(kind.number() - 1)].map(|bytes| bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_agree() {
        for (i, kind) in FrameType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.number()), i + 1);
            assert_eq!(FrameType::from_number(kind.number()), Some(kind));
        }
        assert!([0, 14, 255].into_iter().all(|n| FrameType::from_number(n).is_none()));
    }

    #[test]
    fn every_type_has_a_sender_and_only_close_has_two() {
        for kind in FrameType::ALL {
            let senders = [Sender::Device, Sender::Room].into_iter().filter(|s| kind.is_sent_by(*s)).count();
            assert_eq!(senders, if kind == FrameType::Close { 2 } else { 1 }, "{kind}");
        }
    }

    #[test]
    fn limits_know_their_side_and_are_only_tightened() {
        let limits = Limits::FROM_DEVICE;
        assert_eq!(limits.longest(FrameType::Hello), Some(80 * 1024));
        assert_eq!(limits.longest(FrameType::Ping), Some(0));
        assert_eq!(limits.longest(FrameType::Push), None);
        assert_eq!(Limits::FROM_ROOM.longest(FrameType::Push), Some(70 * 1024));
        assert_eq!(limits.clone().tightened(FrameType::Hello, 100).longest(FrameType::Hello), Some(100));
        assert_eq!(limits.clone().tightened(FrameType::Hello, 1 << 20), limits);
        assert_eq!(limits.clone().tightened(FrameType::Push, 10), limits);
    }

    #[test]
    fn the_largest_payload_and_ack_fit() {
        use longline_types::limits::{ACK_IDS, BINDS, PAYLOAD, TOKEN, USER};
        assert!(FrameType::Push.limit() > PAYLOAD + 1024);
        assert!(FrameType::Uplink.limit() > PAYLOAD + 1024);
        assert!(FrameType::Ack.limit() > ACK_IDS * 9 + 16);
        assert!(FrameType::Bind.limit() > TOKEN + USER + 64);
        assert!(FrameType::Hello.limit() > BINDS * (TOKEN + USER + 64));
    }
}
