//! The HTTP API: what a center and a dispatcher say, as far as the tester asks.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use longline_types::{User, limits};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::server::{Refusal, Sent};
use crate::{KEY, Shared};

/// As of a product that says nothing else: a week.
const DEFAULT_TTL_S: u32 = 7 * 24 * 60 * 60;
/// A year.
const LONGEST_TTL_S: u32 = 365 * 24 * 60 * 60;

#[derive(Clone)]
struct Api {
    shared: Arc<Shared>,
    room: SocketAddr,
}

/// Serves until the server stops.
pub(crate) async fn serve(listener: TcpListener, room: SocketAddr, shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    let router = Router::new()
        .route("/v1/messages", post(send))
        .route("/v1/broadcasts", post(broadcast))
        .route("/v1/users/{user}", get(user))
        .route("/v1/route", get(route))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "unknown_path", "no such path") })
        .with_state(Api { shared, room });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    // It ends with the server or, as a server that died, with its listener.
    let _ = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendMessage {
    to: Recipients,
    payload_base64: String,
    #[serde(default)]
    class: Class,
    ttl_seconds: Option<u32>,
    #[serde(rename = "durability")]
    _durability: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipients {
    user: Option<String>,
    users: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Class {
    #[default]
    Durable,
    Transient,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBroadcast {
    payload_base64: String,
    ttl_seconds: Option<u32>,
    #[serde(rename = "rate_per_second")]
    _rate_per_second: Option<u32>,
}

type Reply = Result<Response, Problem>;

async fn send(
    State(api): State<Api>,
    ConnectInfo(asker): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Json<SendMessage>, JsonRejection>,
) -> Reply {
    authorize(&headers)?;
    let body = checked(body)?;
    let users = users(body.to)?;
    let transient = body.class == Class::Transient;
    let payload = payload(&body.payload_base64)?;
    let sent = sent(&headers, asker, payload, transient, body.ttl_seconds)?;
    let mut failure = None;
    let messages: Vec<Value> = {
        let mut server = api.shared.server();
        let mut one = |user: &User| match server.send(user, &sent) {
            Ok(id) => json!({ "user": user.as_str(), "id": id.to_string() }),
            Err(refusal) => {
                let (_, code, detail) = *failure.insert(words(refusal));
                json!({ "user": user.as_str(), "error": { "code": code, "detail": detail } })
            }
        };
        users.iter().map(&mut one).collect()
    };
    match failure {
        Some((status, code, detail)) if messages.iter().all(|message| message.get("id").is_none()) => {
            Err(Problem::new(status, code, detail))
        }
        _ => Ok((StatusCode::ACCEPTED, Json(json!({ "messages": messages }))).into_response()),
    }
}

async fn broadcast(
    State(api): State<Api>,
    ConnectInfo(asker): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Json<SendBroadcast>, JsonRejection>,
) -> Reply {
    authorize(&headers)?;
    let body = checked(body)?;
    let payload = payload(&body.payload_base64)?;
    let sent = sent(&headers, asker, payload, false, body.ttl_seconds)?;
    let id = api.shared.server().broadcast(&sent).map_err(|refusal| {
        let (status, code, detail) = words(refusal);
        Problem::new(status, code, detail)
    })?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id.to_string() }))).into_response())
}

async fn user(State(api): State<Api>, headers: HeaderMap, Path(user): Path<String>) -> Reply {
    authorize(&headers)?;
    let user = User::new(&user).map_err(|_| invalid("no name of a user"))?;
    let (online, waiting) = api.shared.server().user(&user);
    let presence = if online { "online" } else { "offline" };
    Ok(Json(json!({ "user": user.as_str(), "presence": presence, "waiting": waiting })).into_response())
}

async fn route(State(api): State<Api>) -> Response {
    Json(json!({ "endpoints": [api.room.to_string()], "ttl_s": 60 })).into_response()
}

fn authorize(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(key) if key == KEY => Ok(()),
        _ => Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "no such key")),
    }
}

fn checked<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    let problem = |r: JsonRejection| Problem::new(r.status(), "invalid_argument", r.body_text());
    body.map(|Json(body)| body).map_err(problem)
}

fn users(to: Recipients) -> Result<Vec<User>, Problem> {
    let names = match (to.user, to.users) {
        (Some(user), None) => vec![user],
        (None, Some(users)) if !users.is_empty() && users.len() <= limits::USERS_PER_SEND => users,
        _ => return Err(invalid("`to` has either a user or 1 to 1,000 users")),
    };
    names.iter().map(|name| User::new(name).map_err(|_| invalid("no name of a user"))).collect()
}

fn payload(base64: &str) -> Result<Bytes, Problem> {
    let payload = STANDARD.decode(base64).map_err(|_| invalid("payload_base64 is no Base64"))?;
    if payload.len() > limits::PAYLOAD {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(Problem::new(status, "payload_too_large", "a payload has at most 64 KiB"));
    }
    Ok(payload.into())
}

fn sent(
    headers: &HeaderMap,
    asker: SocketAddr,
    payload: Bytes,
    transient: bool,
    ttl_s: Option<u32>,
) -> Result<Sent, Problem> {
    if ttl_s.is_some_and(|ttl| !(1..=LONGEST_TTL_S).contains(&ttl)) {
        return Err(invalid("ttl_seconds is at least 1 and at most a year"));
    }
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if key.len() > limits::IDEMPOTENCY_KEY {
        return Err(invalid("an idempotency key has at most 128 bytes"));
    }
    let mut digest = DefaultHasher::new();
    (&payload, transient, ttl_s).hash(&mut digest);
    let ttl_ms = u64::from(ttl_s.unwrap_or(DEFAULT_TTL_S)) * 1000;
    Ok(Sent { payload, transient, ttl_ms, key: key.to_owned(), digest: digest.finish(), asker })
}

fn words(refusal: Refusal) -> (StatusCode, &'static str, &'static str) {
    match refusal {
        Refusal::Full => {
            (StatusCode::TOO_MANY_REQUESTS, "resource_exhausted", "the inbox or the server is full")
        }
        Refusal::Conflict => (StatusCode::CONFLICT, "conflict", "the key was used for another request"),
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_argument", detail)
}

/// Why a request was refused.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, code, detail } = self;
        let body = json!({
            "type": format!("urn:longline:problem:{code}"),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}
