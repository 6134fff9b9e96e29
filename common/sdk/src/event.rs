//! What the application is told.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use longline_pb::client::BindResult;
use longline_types::{Address, CloseReason, MessageId, TimeMs};
use longline_wire::WireError;

use crate::BindId;

/// Something the application may want to know.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A room has welcomed the device.
    Connected {
        /// The room, as host:port.
        endpoint: String,
        /// The session's id in the cluster.
        session: u64,
        /// It is the session that broke before, with its binds as they were.
        resumed: bool,
    },
    /// Messages of this address now come over this connection.
    Bound {
        /// The bind.
        bind: BindId,
        /// Its address.
        address: Address,
        /// How many unacknowledged messages the room will have under way.
        window: u32,
    },
    /// The bind is over, and is not asked for again.
    BindEnded {
        /// The bind.
        bind: BindId,
        /// Its address.
        address: Address,
        /// Why: anything but OK and UNAVAILABLE.
        result: BindResult,
        /// The room's words.
        detail: String,
    },
    /// A message, told for the first time.
    Message(Message),
    /// A room could not be used; the next is tried.
    ConnectFailed {
        /// The room as host:port, or the dispatcher's URL.
        endpoint: String,
        /// What happened.
        reason: Disconnect,
    },
    /// The connection has ended. The client connects again by itself.
    Disconnected {
        /// What happened.
        reason: Disconnect,
        /// How long it waits before the next try.
        retry_in: Duration,
    },
    /// The room said not to come back, or no bind is left. This is the last event.
    Closed(Closed),
}

/// A message for one of the device's binds.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// The bind it came on.
    pub bind: BindId,
    /// The bind's address.
    pub address: Address,
    /// Its id, unique in the cluster.
    pub id: MessageId,
    /// What the business sent: for the API's `payload` its compact JSON, for `payload_base64` the bytes.
    pub payload: Bytes,
    /// When the business sent it, Unix milliseconds.
    pub sent_at_ms: TimeMs,
    /// When it expires, Unix milliseconds.
    pub expires_at_ms: TimeMs,
    /// It may have been sent before, perhaps to an earlier run of the application.
    pub redelivered: bool,
    /// It went to every user of the product.
    pub broadcast: bool,
    /// The payload is only a notice that there is something to fetch.
    pub notify_only: bool,
    /// It is stored nowhere and takes no acknowledgement.
    pub transient: bool,
}

/// How a connection, or a try to have one, ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disconnect {
    /// The room closed it with this number, name and text.
    ByRoom {
        /// 1xxx, or a number that this version does not know.
        reason: u32,
        /// The room's words.
        detail: String,
    },
    /// The room asked the device to move to another room.
    Moved,
    /// It broke, or was never there.
    Io(String),
    /// The connection or its handshake took too long.
    ConnectTimeout,
    /// A bind was not answered in time.
    BindTimeout,
    /// Nothing came for 1.5 heartbeat intervals.
    Silence,
    /// The room did not take what was sent to it in time.
    WriteTimeout,
    /// What came is not the protocol.
    Protocol(WireError),
    /// A frame came that has no place there.
    UnexpectedFrame,
    /// The application took the last bind away.
    NoBinds,
}

/// Why a client stopped for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The room said not to come back as it is: displaced, kicked, refused.
    ByRoom {
        /// 2xxx.
        reason: u32,
        /// The room's words.
        detail: String,
    },
    /// The last bind was refused or ended by the room.
    NoBindLeft {
        /// Its address.
        address: Address,
        /// Why.
        result: BindResult,
        /// The room's words.
        detail: String,
    },
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnect::ByRoom { reason, detail } => closed_by_room(f, *reason, detail),
            Disconnect::Moved => f.write_str("the room asked to move to another room"),
            Disconnect::Io(error) => f.write_str(error),
            Disconnect::ConnectTimeout => f.write_str("no answer in time"),
            Disconnect::BindTimeout => f.write_str("a bind was not answered in time"),
            Disconnect::Silence => f.write_str("nothing came for 1.5 heartbeat intervals"),
            Disconnect::WriteTimeout => f.write_str("the room does not take what is sent to it"),
            Disconnect::Protocol(error) => write!(f, "not the protocol: {error}"),
            Disconnect::UnexpectedFrame => f.write_str("a frame came that has no place there"),
            Disconnect::NoBinds => f.write_str("no bind is left"),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::ByRoom { reason, detail } => closed_by_room(f, *reason, detail),
            Closed::NoBindLeft { address, result, detail } => {
                let sentence = match result {
                    BindResult::UnknownProduct => "there is no such product",
                    BindResult::BadToken => "the token is missing, expired, or not for this user",
                    BindResult::BadRequest => "the bind is not valid",
                    BindResult::Displaced => "a newer connection has taken the address",
                    BindResult::Stale => "a newer connection of this device has the address already",
                    BindResult::Kicked => "the business ended the session",
                    other => other.as_str_name(),
                };
                write!(f, "{address}: {sentence}")?;
                with_detail(f, detail)
            }
        }
    }
}

fn closed_by_room(f: &mut fmt::Formatter<'_>, reason: u32, detail: &str) -> fmt::Result {
    match CloseReason::from_number(reason) {
        Some(known) => write!(f, "the room closed the connection: {known}")?,
        None => write!(f, "the room closed the connection: {reason}")?,
    }
    with_detail(f, detail)
}

fn with_detail(f: &mut fmt::Formatter<'_>, detail: &str) -> fmt::Result {
    if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
}
