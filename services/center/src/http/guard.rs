//! Around every HTTP request: bounds, the deadline, and the counters. Also the answers where there is no handler.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Uri, header};
use longline_types::ErrorCode;
use tokio::time::Instant;

use super::Api;
use super::extract::is_well_encoded;
use crate::Failure;

/// Lets a request through if there is room, answers for it if it takes too long, and counts it.
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    // The pattern, not the path: what the outside sends is no label.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| format!("{} {}", method(request.method()), path.as_str()));
    let response = guarded(&api, request, next).await;
    let metrics = api.ops.metrics();
    metrics.requests.with_label_values(&[route.as_str(), response.status().as_str()]).inc();
    metrics.request_seconds.with_label_values(&[route.as_str()]).observe(started.elapsed().as_secs_f64());
    response
}

async fn guarded(api: &Api, request: Request, next: Next) -> Response {
    if !is_well_encoded(request.uri().path()) {
        let message = "a % in the path is followed by two hex digits; a percent sign itself is %25";
        return Failure::new(ErrorCode::InvalidArgument, "invalid_path", message).into_response();
    }
    let _permit = match api.ops.admit() {
        Ok(permit) => permit,
        Err(failure) => return failure.into_response(),
    };
    match tokio::time::timeout(api.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!(
                "no answer within {:?}; whether it was done is not known. Send it again with the same Idempotency-Key",
                api.request_timeout
            );
            Failure::new(ErrorCode::DeadlineExceeded, ErrorCode::DeadlineExceeded.name(), message)
                .into_response()
        }
    }
}

/// No route has this path. Who speaks gRPC is answered in gRPC.
pub(super) async fn unknown_path(uri: Uri, headers: HeaderMap) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        return tonic::Status::unimplemented("no such service here").into_http::<axum::body::Body>();
    }
    let message = format!("there is nothing at {}; see /openapi.json for what there is", uri.path());
    Failure::new(ErrorCode::NotFound, "unknown_path", message).into_response()
}

/// The path has other methods; `Allow` names them.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let message = format!("{} takes no {method}; the header Allow says what it takes", uri.path());
    Failure::new(ErrorCode::InvalidArgument, "method_not_allowed", message)
}

/// The method as a label: one of those that exist here.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
