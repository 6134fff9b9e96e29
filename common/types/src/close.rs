use std::fmt;

/// Why a connection ends, as CLOSE says it. 1xxx: come back (with the wait to use); 2xxx: do not come back as you are.
///
/// The numbers are part of the client protocol (proto/README.md); the names label metrics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum CloseReason {
    /// The room stops or is being emptied.
    GoingAway = 1000,
    /// The room cannot serve this now.
    Overloaded = 1001,
    /// Nothing came for 1.5 heartbeat intervals.
    HeartbeatTimeout = 1002,
    /// No complete HELLO within the handshake's deadline.
    HandshakeTimeout = 1003,
    /// The device does not read what it is sent, or not as fast as its product wants.
    SlowReader = 1004,
    /// The room has lost its place in the cluster.
    Isolated = 1005,
    /// Something failed in the room.
    Internal = 1006,
    /// The device closed the connection itself.
    ClientGone = 1007,
    /// The network address may not connect here.
    Denied = 1008,
    /// The first bytes are not those of the protocol.
    BadPreface = 2000,
    /// The protocol's version or mode is not spoken here.
    UnsupportedVersion = 2001,
    /// A length is beyond the limit or is not a varint of at most 4 bytes.
    FrameTooLong = 2002,
    /// A frame type that does not exist, or that a device does not send.
    UnknownFrame = 2003,
    /// A body is not the protobuf message it should be.
    BadBody = 2004,
    /// A frame that may not come in this state, such as a second HELLO.
    UnexpectedFrame = 2005,
    /// A field is out of its range.
    BadField = 2006,
    /// None of the binds of HELLO stands.
    NoBind = 2007,
    /// A newer connection has bound the session's last address.
    Displaced = 2008,
    /// The business ended the session.
    Kicked = 2009,
    /// More frames than a device has reason to send.
    TooManyFrames = 2010,
    /// The bytes break the rules of TLS, WebSocket or Noise.
    BadTransport = 2011,
}

impl CloseReason {
    /// Every reason, by number.
    pub const ALL: [CloseReason; 21] = [
        CloseReason::GoingAway,
        CloseReason::Overloaded,
        CloseReason::HeartbeatTimeout,
        CloseReason::HandshakeTimeout,
        CloseReason::SlowReader,
        CloseReason::Isolated,
        CloseReason::Internal,
        CloseReason::ClientGone,
        CloseReason::Denied,
        CloseReason::BadPreface,
        CloseReason::UnsupportedVersion,
        CloseReason::FrameTooLong,
        CloseReason::UnknownFrame,
        CloseReason::BadBody,
        CloseReason::UnexpectedFrame,
        CloseReason::BadField,
        CloseReason::NoBind,
        CloseReason::Displaced,
        CloseReason::Kicked,
        CloseReason::TooManyFrames,
        CloseReason::BadTransport,
    ];

    /// Its number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The reason with this number, if this version knows it. Its range tells what to do even if not.
    pub fn from_number(number: u32) -> Option<CloseReason> {
        CloseReason::ALL.into_iter().find(|r| u32::from(r.number()) == number)
    }

    /// Whether a device that gets this may connect again unchanged.
    pub fn may_return(self) -> bool {
        self.number() < 2000
    }

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::GoingAway => "going_away",
            CloseReason::Overloaded => "overloaded",
            CloseReason::HeartbeatTimeout => "heartbeat_timeout",
            CloseReason::HandshakeTimeout => "handshake_timeout",
            CloseReason::SlowReader => "slow_reader",
            CloseReason::Isolated => "isolated",
            CloseReason::Internal => "internal",
            CloseReason::ClientGone => "client_gone",
            CloseReason::Denied => "denied",
            CloseReason::BadPreface => "bad_preface",
            CloseReason::UnsupportedVersion => "unsupported_version",
            CloseReason::FrameTooLong => "frame_too_long",
            CloseReason::UnknownFrame => "unknown_frame",
            CloseReason::BadBody => "bad_body",
            CloseReason::UnexpectedFrame => "unexpected_frame",
            CloseReason::BadField => "bad_field",
            CloseReason::NoBind => "no_bind",
            CloseReason::Displaced => "displaced",
            CloseReason::Kicked => "kicked",
            CloseReason::TooManyFrames => "too_many_frames",
            CloseReason::BadTransport => "bad_transport",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}
