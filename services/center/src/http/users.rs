//! /v1/users

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Caller, Query, UserName};
use crate::Failure;
use crate::ops;
use longline_types::rfc3339;

/// A user as seen now.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserStatus {
    user: String,
    /// `online`, `offline`, or `unknown` while it cannot be told (a register is being refilled, or a room does not answer).
    #[schema(example = "online")]
    presence: String,
    /// Number of the room that holds the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<u32>,
    /// Where devices reach that room.
    #[serde(skip_serializing_if = "Option::is_none")]
    room_endpoint: Option<String>,
    /// Since when the session stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// ip:port of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    /// Messages and broadcasts not acknowledged yet.
    waiting: u64,
}

/// What a kicked device is told.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KickQuery {
    /// Told to the device; up to 256 bytes.
    #[serde(default)]
    detail: Option<String>,
}

/// Whether there was a session to end.
#[derive(Serialize, ToSchema)]
pub(crate) struct KickReply {
    kicked: bool,
}

/// Where a user is
///
/// A user who never connected is offline, with what waits for it.
#[utoipa::path(get, path = "/v1/users/{user}", tag = "users", params(("user" = String, Path)),
    responses((status = 200, body = UserStatus, description = "Presence and waiting messages")),
    security(("product_key" = [])))]
pub(crate) async fn read(
    State(api): State<Api>,
    Caller(product): Caller,
    UserName(user): UserName,
) -> Result<Json<UserStatus>, Failure> {
    Ok(Json(api.ops.user(&product, &user).await?.into()))
}

/// End a user's session
///
/// The device is told not to come back by itself. Messages keep waiting.
#[utoipa::path(delete, path = "/v1/users/{user}/session", tag = "users", params(("user" = String, Path), KickQuery),
    responses((status = 200, body = KickReply, description = "Whether the user was connected")),
    security(("product_key" = [])))]
pub(crate) async fn kick(
    State(api): State<Api>,
    Caller(product): Caller,
    UserName(user): UserName,
    Query(query): Query<KickQuery>,
) -> Result<Json<KickReply>, Failure> {
    let kicked = api.ops.kick(&product, &user, query.detail.unwrap_or_default()).await?;
    Ok(Json(KickReply { kicked }))
}

/// Empty if the room does not say.
fn time(at_ms: u64) -> Option<String> {
    (at_ms > 0).then(|| rfc3339(at_ms))
}

impl From<ops::UserStatus> for UserStatus {
    fn from(status: ops::UserStatus) -> UserStatus {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let session = status.session.as_ref();
        UserStatus {
            user: status.user.as_str().to_owned(),
            presence: status.presence.name().to_owned(),
            room: session.map(|s| s.room),
            room_endpoint: session.and_then(|s| text(&s.room_endpoint)),
            since: session.and_then(|s| time(s.seen.connected_at_ms)),
            device: session.and_then(|s| text(&s.seen.device)),
            platform: session.and_then(|s| text(&s.seen.platform)),
            peer: session.and_then(|s| text(&s.seen.peer)),
            waiting: status.waiting,
        }
    }
}
