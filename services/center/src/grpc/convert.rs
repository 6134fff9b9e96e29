//! Between the gRPC messages and the operations' words.

use bytes::Bytes;
use longline_pb::center::{BroadcastStatus, MessageStatus, SendReply, SendRequest, Sent, Step, UserStatus};
use longline_pb::types;
use longline_types::{Class, Durability, Error};
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::{Failure, ops};

/// Metadata with the specific code, as problems have it over HTTP.
const REASON: &str = "longline-reason";

/// The status that says this failure.
pub(super) fn status(failure: Failure) -> Status {
    let code = failure.code;
    let mut status = longline_rpc::status(failure.into());
    status.metadata_mut().insert(REASON, MetadataValue::from_static(code));
    status
}

/// A send as it was asked. Enum numbers of a later version are refused rather than taken for something else.
pub(super) fn send(request: SendRequest) -> Result<ops::Send, Failure> {
    let class = types::Class::try_from(request.class).map_err(|_| unknown("class", request.class))?;
    let durability = types::Durability::try_from(request.durability)
        .map_err(|_| unknown("durability", request.durability))?;
    Ok(ops::Send {
        users: request.users,
        // A copy: the payload's own bytes would hold on to the whole buffer it came in, for as long as it waits to be sent.
        payload: Bytes::copy_from_slice(&request.payload),
        class: Class::from(class),
        ttl_s: (request.ttl_seconds > 0).then_some(request.ttl_seconds),
        collapse_key: request.collapse_key,
        idempotency_key: request.idempotency_key,
        durability: match durability {
            types::Durability::Unspecified => None,
            given => Some(Durability::from(given)),
        },
    })
}

/// The reply to a send that was accepted at least in part.
pub(super) fn reply(sent: Vec<ops::Sent>) -> SendReply {
    let one = |sent: ops::Sent| {
        let user = sent.user.as_str().to_owned();
        match sent.result {
            Ok(id) => Sent { user, id: id.0, error: None },
            Err(failure) => Sent { user, id: 0, error: Some(Error::from(failure).into()) },
        }
    };
    SendReply { messages: sent.into_iter().map(one).collect(), error: None }
}

/// The reply in a stream to a send that was refused as a whole.
pub(super) fn refusal(failure: Failure) -> SendReply {
    SendReply { messages: Vec::new(), error: Some(Error::from(failure).into()) }
}

fn unknown(field: &str, number: i32) -> Failure {
    Failure::invalid(format!("{field} {number} is not known"))
}

impl From<ops::MessageStatus> for MessageStatus {
    fn from(status: ops::MessageStatus) -> MessageStatus {
        let step = |step: ops::Step| Step {
            state: step.state.to_owned(),
            at_ms: step.at_ms,
            node: step.node.unwrap_or(0),
        };
        MessageStatus {
            id: status.id.0,
            user: status.user,
            state: status.state.to_owned(),
            history: status.history.into_iter().map(step).collect(),
            expires_at_ms: status.expires_at_ms,
        }
    }
}

impl From<ops::BroadcastStatus> for BroadcastStatus {
    fn from(status: ops::BroadcastStatus) -> BroadcastStatus {
        BroadcastStatus {
            id: status.id.0,
            done: status.done,
            online: status.online,
            online_reached: status.online_reached,
            offline_reached: status.offline_reached,
            rooms: status.rooms,
            rooms_done: status.rooms_done,
            created_at_ms: status.created_at_ms,
            expires_at_ms: status.expires_at_ms,
        }
    }
}

impl From<ops::UserStatus> for UserStatus {
    fn from(status: ops::UserStatus) -> UserStatus {
        let session = status.session.unwrap_or_default();
        UserStatus {
            user: status.user.as_str().to_owned(),
            presence: status.presence.name().to_owned(),
            room: session.room,
            room_endpoint: session.room_endpoint,
            since_ms: session.seen.connected_at_ms,
            waiting: status.waiting,
            device: session.seen.device,
            platform: session.seen.platform,
            peer: session.seen.peer,
        }
    }
}
