use std::fmt;

/// What kind of failure it is; one list for gRPC, HTTP and pipelined items.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorCode {
    /// The request itself is wrong; trying again does not help.
    InvalidArgument,
    /// No valid key or token.
    Unauthenticated,
    /// The key is valid but not for this.
    PermissionDenied,
    /// It does not exist.
    NotFound,
    /// It contradicts what is stored.
    Conflict,
    /// A bounded queue or a limit is full; come again later. Nothing was done.
    ResourceExhausted,
    /// Nobody can serve it now. Nothing was done: safe to retry.
    Unavailable,
    /// The time was up; whether it was done is not known.
    DeadlineExceeded,
    /// The node does not own the slot in its view.
    WrongNode,
    /// The register owns the slot but does not know all its routes yet (R3).
    Refilling,
    /// A fault in the cluster.
    Internal,
}

impl ErrorCode {
    /// Its stable name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::InvalidArgument => "invalid_argument",
            ErrorCode::Unauthenticated => "unauthenticated",
            ErrorCode::PermissionDenied => "permission_denied",
            ErrorCode::NotFound => "not_found",
            ErrorCode::Conflict => "conflict",
            ErrorCode::ResourceExhausted => "resource_exhausted",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::DeadlineExceeded => "deadline_exceeded",
            ErrorCode::WrongNode => "wrong_node",
            ErrorCode::Refilling => "refilling",
            ErrorCode::Internal => "internal",
        }
    }

    /// Its HTTP status.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorCode::InvalidArgument => 400,
            ErrorCode::Unauthenticated => 401,
            ErrorCode::PermissionDenied => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Conflict => 409,
            ErrorCode::ResourceExhausted => 429,
            ErrorCode::Internal => 500,
            ErrorCode::Unavailable | ErrorCode::WrongNode | ErrorCode::Refilling => 503,
            ErrorCode::DeadlineExceeded => 504,
        }
    }

    /// Whether nothing was done, so that the same request may be sent again at once, elsewhere or after a wait.
    pub fn is_safe_to_retry(self) -> bool {
        matches!(
            self,
            ErrorCode::ResourceExhausted
                | ErrorCode::Unavailable
                | ErrorCode::WrongNode
                | ErrorCode::Refilling
        )
    }
}

/// A failure that crosses a service's border: a code, and a sentence that says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {message}", .code.name())]
pub struct Error {
    /// The kind.
    pub code: ErrorCode,
    /// For people; without secrets.
    pub message: String,
}

impl Error {
    /// A failure of this kind.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Error {
        Error { code, message: message.to_string() }
    }

    /// Nobody can serve it now; safe to retry.
    pub fn unavailable(message: impl fmt::Display) -> Error {
        Error::new(ErrorCode::Unavailable, message)
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl fmt::Display) -> Error {
        Error::new(ErrorCode::InvalidArgument, message)
    }

    /// It does not exist.
    pub fn not_found(message: impl fmt::Display) -> Error {
        Error::new(ErrorCode::NotFound, message)
    }

    /// A fault in the cluster.
    pub fn internal(message: impl fmt::Display) -> Error {
        Error::new(ErrorCode::Internal, message)
    }
}
