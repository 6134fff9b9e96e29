//! /v1/admin/products/{id}/users/{user}/session

use axum::Json;
use axum::extract::State;
use longline_types::{now_ms, rfc3339};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::extract::{Operator, ProductAndUser};
use crate::Failure;
use crate::ops;

/// A user's session, live.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserSession {
    product: u32,
    user: String,
    /// `online`, `offline`, or `unknown` while it cannot be told (a register is being refilled, or a room does not answer).
    #[schema(example = "online")]
    presence: String,
    /// Messages and broadcasts not acknowledged yet.
    waiting: u64,
    /// Of a user who is online.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionView>,
}

/// What the room knows of the session now, and of the user's bind in it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionView {
    /// In hexadecimal, as the room's logs have it.
    id: String,
    /// Number of the room that holds it.
    room: u32,
    /// Where devices reach that room.
    room_endpoint: String,
    /// ip:port of the device.
    peer: String,
    /// `tcp`, `tls`, `ws`, `wss` or `noise`.
    transport: String,
    /// `opening` until its WELCOME, then `open`; `parked` while its connection is broken and its device may take it up again.
    state: String,
    device: String,
    sdk: String,
    platform: String,
    /// Where the device says it is: `wifi`, `ethernet`, `2g` to `5g`, `unspecified`.
    network: String,
    connected_at: String,
    heartbeat_s: u32,
    last_seen: String,
    /// Since the last byte from the device.
    silent_ms: u64,
    /// Addresses of the session.
    binds: u32,
    /// Something may wait in the inbox, and is to be loaded.
    dirty: bool,
    /// A load is under way.
    loading: bool,
    /// Nothing is pushed since the device does not acknowledge.
    stalled: bool,
    /// Messages in flight at once.
    window: u32,
    /// Pushed and not acknowledged.
    in_flight: Vec<InFlightView>,
    /// Acknowledged by the device, and not confirmed by the store yet.
    unconfirmed: u32,
    /// Bytes that the session's socket has not taken yet.
    unwritten_bytes: u64,
    /// Frames that the device may send at once before it is closed for sending too many.
    frames_left: u32,
}

/// A message on its way.
#[derive(Serialize, ToSchema)]
pub(crate) struct InFlightView {
    id: String,
    /// Since it was handed to the socket.
    age_ms: u64,
}

/// Show a user's session
///
/// What the room that holds it knows at this moment; `longline ctl session` shows it again and again.
#[utoipa::path(get, path = "/v1/admin/products/{id}/users/{user}/session", tag = "admin",
    params(("id" = u32, Path), ("user" = String, Path)),
    responses((status = 200, body = UserSession, description = "Presence, and the session of a user who is online"),
        (status = 404, description = "No such product")),
    security(("admin_key" = [])))]
pub(crate) async fn read(
    _: Operator,
    State(api): State<Api>,
    ProductAndUser(product, user): ProductAndUser,
) -> Result<Json<UserSession>, Failure> {
    let status = api.ops.user_of_any(product, &user).await?;
    Ok(Json(UserSession {
        product,
        user: status.user.as_str().to_owned(),
        presence: status.presence.name().to_owned(),
        waiting: status.waiting,
        session: status.session.map(|session| SessionView::at(session, now_ms())),
    }))
}

impl SessionView {
    /// Ages are as of `now`; the room's clock may be a little ahead of it.
    fn at(session: ops::Session, now: u64) -> SessionView {
        let ops::Session { id, room, room_endpoint, seen } = session;
        let in_flight = seen.in_flight.into_iter().map(|message| InFlightView {
            id: message.id.to_string(),
            age_ms: now.saturating_sub(message.written_at_ms),
        });
        SessionView {
            id: format!("{id:016x}"),
            room,
            room_endpoint,
            peer: seen.peer,
            transport: seen.transport,
            state: seen.state,
            device: seen.device,
            sdk: seen.sdk,
            platform: seen.platform,
            network: seen.network,
            connected_at: rfc3339(seen.connected_at_ms),
            heartbeat_s: seen.heartbeat_s,
            last_seen: rfc3339(seen.last_seen_ms),
            silent_ms: now.saturating_sub(seen.last_seen_ms),
            binds: seen.binds,
            dirty: seen.dirty,
            loading: seen.loading,
            stalled: seen.stalled,
            window: seen.window,
            in_flight: in_flight.collect(),
            unconfirmed: seen.unconfirmed,
            unwritten_bytes: seen.unwritten_bytes,
            frames_left: seen.frames_left,
        }
    }
}
