//! /v1/broadcasts

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{Body, Caller, Id, IdempotencyKey};
use super::payload::{JsonPayload, payload, present};
use crate::Failure;
use crate::ops::{self, NewBroadcast};
use longline_types::rfc3339;

/// A message to every user of the product.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendBroadcast {
    /// Any JSON value; devices get its compact JSON text, up to 64 KiB.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<JsonPayload>,
    /// Any bytes in Base64, in place of `payload`.
    #[serde(default)]
    payload_base64: Option<String>,
    /// Users who bind later than this do not get it; by default as the product says.
    #[serde(default)]
    #[schema(minimum = 1)]
    ttl_seconds: Option<u32>,
    /// Online users a second over the whole cluster; 0 or left out: no limit.
    #[serde(default)]
    rate_per_second: u32,
}

/// An accepted broadcast.
#[derive(Serialize, ToSchema)]
pub(crate) struct BroadcastReply {
    #[schema(example = "250211106803712001")]
    id: String,
}

/// How far a broadcast is.
#[derive(Serialize, ToSchema)]
pub(crate) struct BroadcastStatus {
    id: String,
    /// Every room has walked its sessions. Users who bind later still get it until it expires.
    done: bool,
    /// Users found online.
    online: u64,
    /// Of these, how many have acknowledged it.
    online_reached: u64,
    /// Users who acknowledged it after they bound later.
    offline_reached: u64,
    rooms: u32,
    rooms_done: u32,
    created_at: String,
    expires_at: String,
}

/// Send to everybody
///
/// Users who are online get it at once, at the given rate; others when they next connect, until it expires.
#[utoipa::path(post, path = "/v1/broadcasts", tag = "broadcasts", request_body = SendBroadcast,
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 128 bytes. Recognises a repeat.")),
    responses((status = 202, body = BroadcastReply, description = "Stored, and under way"),
        (status = 409, description = "The key was used for another request")),
    security(("product_key" = [])))]
pub(crate) async fn send(
    State(api): State<Api>,
    Caller(product): Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(body): Body<SendBroadcast>,
) -> Result<(StatusCode, Json<BroadcastReply>), Failure> {
    let broadcast = NewBroadcast {
        payload: payload(body.payload, body.payload_base64)?,
        ttl_s: body.ttl_seconds,
        rate_per_second: body.rate_per_second,
        idempotency_key,
    };
    let id = api.ops.broadcast(&product, broadcast).await?;
    Ok((StatusCode::ACCEPTED, Json(BroadcastReply { id: id.to_string() })))
}

/// How far a broadcast is
#[utoipa::path(get, path = "/v1/broadcasts/{id}", tag = "broadcasts", params(("id" = String, Path)),
    responses((status = 200, body = BroadcastStatus, description = "Progress"),
        (status = 404, description = "No such broadcast")),
    security(("product_key" = [])))]
pub(crate) async fn read(
    State(api): State<Api>,
    Caller(product): Caller,
    Id(id): Id,
) -> Result<Json<BroadcastStatus>, Failure> {
    Ok(Json(api.ops.broadcast_status(&product, id).await?.into()))
}

impl From<ops::BroadcastStatus> for BroadcastStatus {
    fn from(status: ops::BroadcastStatus) -> BroadcastStatus {
        BroadcastStatus {
            id: status.id.to_string(),
            done: status.done,
            online: status.online,
            online_reached: status.online_reached,
            offline_reached: status.offline_reached,
            rooms: status.rooms,
            rooms_done: status.rooms_done,
            created_at: rfc3339(status.created_at_ms),
            expires_at: rfc3339(status.expires_at_ms),
        }
    }
}
