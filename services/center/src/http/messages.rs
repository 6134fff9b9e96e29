//! /v1/messages

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use longline_types::{Class, Durability};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{Body, Caller, Id, IdempotencyKey};
use super::payload::{JsonPayload, payload, present};
use crate::Failure;
use crate::ops::{self, Sent};
use longline_types::rfc3339;

/// A message to one user or up to 1,000.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendMessage {
    to: Recipients,
    /// Any JSON value; the device gets its compact JSON text, up to 64 KiB.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<JsonPayload>,
    /// Any bytes in Base64; the device gets the bytes, up to 64 KiB. In place of `payload`.
    #[serde(default)]
    payload_base64: Option<String>,
    #[serde(default)]
    class: ClassName,
    /// How long it may wait for the user; by default as the product says.
    #[serde(default)]
    #[schema(minimum = 1)]
    ttl_seconds: Option<u32>,
    /// Takes the place of a waiting message with the same key. Up to 64 bytes.
    #[serde(default)]
    collapse_key: Option<String>,
    /// What 202 promises; by default as the product says.
    #[serde(default)]
    durability: Option<DurabilityName>,
}

/// One user or several.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipients {
    /// One user, 1 to 128 bytes.
    #[serde(default)]
    #[schema(example = "alice")]
    user: Option<String>,
    /// 1 to 1,000 users, each once.
    #[serde(default)]
    users: Option<Vec<String>>,
}

/// Whether a message is kept until it is acknowledged.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClassName {
    /// Stored before it is sent, until it is acknowledged.
    #[default]
    Durable,
    /// Never stored; dropped if the user is not online.
    Transient,
}

/// What "stored" promises.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DurabilityName {
    /// The database has committed.
    Synced,
    /// Redis has it, the database soon after; lost if both fail within that time.
    Fast,
}

/// What was accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct SendReply {
    /// One entry per user, in the order of the request.
    messages: Vec<SentMessage>,
}

/// A user's message: an id, or an error if it was not accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct SentMessage {
    #[schema(example = "alice")]
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "250211106803712001")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<SendError>,
}

/// Why one user's message was not accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct SendError {
    #[schema(example = "unavailable")]
    code: String,
    detail: String,
}

/// A durable message and its way so far.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageStatus {
    id: String,
    user: String,
    /// `stored`, `written` (to a device that has not acknowledged it), or how it ended: `acked`, `expired`, `collapsed`,
    /// `recalled`, `overflowed`, `quarantined`.
    #[schema(example = "acked")]
    state: String,
    class: ClassName,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<String>,
    history: Vec<MessageStep>,
}

/// A state that a message reached.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessageStep {
    /// `accepted`, `stored`, `routed`, `written`, then how it ended.
    state: String,
    #[schema(example = "2026-11-20T22:31:05.042Z")]
    at: String,
    /// Number of the node that did it, where it is known.
    node: Option<u32>,
}

/// Send a message
///
/// Accepted means stored, for a durable message: it is delivered once the user is there, at least once. Without an
/// `Idempotency-Key` a repeated request is a new message; with one it gets the same ids.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", request_body = SendMessage,
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 128 bytes. Recognises a repeat, user by user.")),
    responses((status = 202, body = SendReply, description = "Accepted, for at least one user"),
        (status = 409, description = "The key was used for another request")),
    security(("product_key" = [])))]
pub(crate) async fn send(
    State(api): State<Api>,
    Caller(product): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<SendMessage>,
) -> Result<(StatusCode, Json<SendReply>), Failure> {
    let sent = api.ops.send(&product, body.checked(key)?).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(SendReply { messages: sent.into_iter().map(SentMessage::from).collect() }),
    ))
}

/// What became of a message
///
/// While it waits, its user's session is looked at too. Transient messages are never stored and not found.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages", params(("id" = String, Path)),
    responses((status = 200, body = MessageStatus, description = "State now and history"),
        (status = 404, description = "No such message")),
    security(("product_key" = [])))]
pub(crate) async fn read(
    State(api): State<Api>,
    Caller(product): Caller,
    Id(id): Id,
) -> Result<Json<MessageStatus>, Failure> {
    Ok(Json(api.ops.message(&product, id).await?.into()))
}

/// Recall a message
///
/// A device that has it already keeps it. Recalling again is no error; 409 says that the message had ended in another way.
#[utoipa::path(delete, path = "/v1/messages/{id}", tag = "messages", params(("id" = String, Path)),
    responses((status = 200, body = MessageStatus, description = "It is recalled"),
        (status = 404, description = "No such message"),
        (status = 409, description = "It had ended before: `already_ended`")),
    security(("product_key" = [])))]
pub(crate) async fn recall(
    State(api): State<Api>,
    Caller(product): Caller,
    Id(id): Id,
) -> Result<Json<MessageStatus>, Failure> {
    Ok(Json(api.ops.recall(&product, id).await?.into()))
}

impl SendMessage {
    fn checked(self, idempotency_key: String) -> Result<ops::Send, Failure> {
        let users = match (self.to.user, self.to.users) {
            (Some(user), None) => vec![user],
            (None, Some(users)) => users,
            _ => return Err(Failure::invalid("`to` has either user or users")),
        };
        Ok(ops::Send {
            users,
            payload: payload(self.payload, self.payload_base64)?,
            class: self.class.into(),
            ttl_s: self.ttl_seconds,
            collapse_key: self.collapse_key.unwrap_or_default(),
            idempotency_key,
            durability: self.durability.map(Durability::from),
        })
    }
}

impl From<Sent> for SentMessage {
    fn from(sent: Sent) -> SentMessage {
        let user = sent.user.as_str().to_owned();
        match sent.result {
            Ok(id) => SentMessage { user, id: Some(id.to_string()), error: None },
            Err(failure) => {
                let error = SendError { code: failure.code.to_owned(), detail: failure.message };
                SentMessage { user, id: None, error: Some(error) }
            }
        }
    }
}

impl From<ops::MessageStatus> for MessageStatus {
    fn from(status: ops::MessageStatus) -> MessageStatus {
        let step = |step: ops::Step| MessageStep {
            state: step.state.to_owned(),
            at: rfc3339(step.at_ms),
            node: step.node,
        };
        MessageStatus {
            id: status.id.to_string(),
            user: status.user,
            state: status.state.to_owned(),
            class: status.class.into(),
            expires_at: rfc3339(status.expires_at_ms),
            collapse_key: Some(status.collapse_key).filter(|key| !key.is_empty()),
            history: status.history.into_iter().map(step).collect(),
        }
    }
}

impl From<ClassName> for Class {
    fn from(class: ClassName) -> Class {
        match class {
            ClassName::Durable => Class::Durable,
            ClassName::Transient => Class::Transient,
        }
    }
}

impl From<Class> for ClassName {
    fn from(class: Class) -> ClassName {
        match class {
            Class::Durable => ClassName::Durable,
            Class::Transient => ClassName::Transient,
        }
    }
}

impl From<DurabilityName> for Durability {
    fn from(durability: DurabilityName) -> Durability {
        match durability {
            DurabilityName::Synced => Durability::Synced,
            DurabilityName::Fast => Durability::Fast,
        }
    }
}

impl From<Durability> for DurabilityName {
    fn from(durability: Durability) -> DurabilityName {
        match durability {
            Durability::Synced => DurabilityName::Synced,
            Durability::Fast => DurabilityName::Fast,
        }
    }
}
