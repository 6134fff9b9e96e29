//! Errors as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use longline_types::ErrorCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Failure;

/// What went wrong, and what to change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:longline:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:longline:problem:invalid_argument")]
    pub(crate) kind: String,
    /// The status in words.
    #[schema(example = "Bad Request")]
    pub(crate) title: String,
    /// The HTTP status.
    #[schema(example = 400)]
    pub(crate) status: u16,
    /// Stable name of the error, for programs.
    #[schema(example = "invalid_argument")]
    pub(crate) code: String,
    /// What is wrong here and what to change, for people.
    #[schema(example = "name at least one user")]
    pub(crate) detail: String,
}

/// The media type of a problem.
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

/// Seconds after which a refused request may be sent again.
const RETRY_AFTER_S: &str = "1";

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let status = status(&failure);
        Problem {
            kind: format!("urn:longline:problem:{}", failure.code),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: failure.code.to_owned(),
            detail: failure.message,
        }
    }
}

/// Problems of HTTP itself have statuses of their own; the others have their kind's.
fn status(failure: &Failure) -> StatusCode {
    match failure.code {
        "unknown_path" => StatusCode::NOT_FOUND,
        "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "body_timeout" => StatusCode::REQUEST_TIMEOUT,
        "body_too_large" | "payload_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "unsupported_media_type" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::from_u16(failure.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.kind == ErrorCode::Internal {
            tracing::warn!(error = %self, "a request failed inside the cluster");
        }
        Problem::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides_the_status_unless_the_code_does() {
        let of = |kind, code| Problem::from(Failure::new(kind, code, "why")).status;
        assert_eq!(of(ErrorCode::InvalidArgument, "invalid_user"), 400);
        assert_eq!(of(ErrorCode::InvalidArgument, "payload_too_large"), 413);
        assert_eq!(of(ErrorCode::InvalidArgument, "method_not_allowed"), 405);
        assert_eq!(of(ErrorCode::Conflict, "already_ended"), 409);
        assert_eq!(of(ErrorCode::Refilling, "refilling"), 503);
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let response =
            Failure::new(ErrorCode::ResourceExhausted, "resource_exhausted", "full").into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    }
}
