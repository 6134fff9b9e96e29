//! `GET /v1/route`, and a problem document for everything else.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Query as Parameters, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use longline_types::{Error, ErrorCode};
use serde::Serialize;

use crate::dispatch::{Dispatch, Group};
use crate::query::Query;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// When a refused client may ask again, in seconds.
const RETRY_AFTER_S: &str = "2";

/// What handlers have.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) dispatch: Dispatch,
    pub(crate) trusted_proxies: usize,
}

/// The answer, as the client reads it.
#[derive(Serialize)]
struct Route {
    endpoints: Vec<String>,
    ttl_s: u32,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    noise_keys: HashMap<String, String>,
}

/// An error, by RFC 9457.
#[derive(Serialize)]
struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
}

pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/route", get(route))
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use GET".to_owned())
        })
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "unknown_path", "there is only /v1/route".to_owned())
        })
        .with_state(api)
}

async fn route(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    parameters: Parameters<Vec<(String, String)>>,
) -> Response {
    let client = client(peer.ip(), &headers, api.trusted_proxies);
    match api.dispatch.answer(client, Query::of_parameters(parameters.0)) {
        // An answer is for one client, and for its time only.
        Ok(Group { endpoints, ttl_s, noise_keys }) => {
            let route = Route { endpoints, ttl_s, noise_keys };
            ([(header::CACHE_CONTROL, "no-store")], Json(route)).into_response()
        }
        Err(error) => refuse(error),
    }
}

fn refuse(error: Error) -> Response {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = problem(status, error.code.name(), error.message);
    if matches!(error.code, ErrorCode::ResourceExhausted | ErrorCode::Unavailable) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

fn problem(status: StatusCode, code: &'static str, detail: String) -> Response {
    let body = Problem {
        r#type: format!("urn:longline:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code,
        detail,
    };
    let mut response = (status, Json(body)).into_response();
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// Who asks: the peer, or, behind trusted proxies, the address that the outermost of them saw. Each proxy appends to the header,
/// so what stands further left is the client's own invention.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted_proxies: usize) -> IpAddr {
    let Some(skip) = trusted_proxies.checked_sub(1) else { return peer };
    let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()).collect();
    let entry = lines.iter().rev().flat_map(|line| line.rsplit(',')).nth(skip);
    entry.and_then(|entry| entry.trim().parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let peer: IpAddr = "10.0.0.9".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(client(peer, &headers, 1), peer);
        headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1, 2.2.2.2"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("3.3.3.3"));
        for (proxies, expected) in [(0, "10.0.0.9"), (1, "3.3.3.3"), (2, "2.2.2.2"), (4, "10.0.0.9")] {
            assert_eq!(client(peer, &headers, proxies).to_string(), expected, "{proxies} proxies");
        }
        headers.append(FORWARDED_FOR, HeaderValue::from_static("unknown"));
        assert_eq!(client(peer, &headers, 1), peer);
    }
}
