use std::fmt;

use longline_types::{Error, ErrorCode, IdExhausted, InvalidUser};

/// Why an operation was not done, for the business: the kind decides the status, the code is stable and may be more specific
/// than the kind, and the message says what to change.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// The kind.
    pub kind: ErrorCode,
    /// Stable name; the kind's own where nothing more specific is known.
    pub code: &'static str,
    /// For people; without secrets.
    pub message: String,
}

impl Failure {
    /// A failure with a code more specific than its kind.
    pub fn new(kind: ErrorCode, code: &'static str, message: impl fmt::Display) -> Failure {
        Failure { kind, code, message: message.to_string() }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl fmt::Display) -> Failure {
        Error::invalid(message).into()
    }

    /// It does not exist.
    pub fn not_found(message: impl fmt::Display) -> Failure {
        Error::not_found(message).into()
    }

    /// No valid key.
    pub fn unauthenticated(message: impl fmt::Display) -> Failure {
        Error::new(ErrorCode::Unauthenticated, message).into()
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure { kind: e.code, code: e.code.name(), message: e.message }
    }
}

impl From<Failure> for Error {
    /// The specific code is lost.
    fn from(f: Failure) -> Error {
        Error::new(f.kind, f.message)
    }
}

impl From<InvalidUser> for Failure {
    fn from(e: InvalidUser) -> Failure {
        Failure::new(ErrorCode::InvalidArgument, "invalid_user", e)
    }
}

impl From<IdExhausted> for Failure {
    fn from(e: IdExhausted) -> Failure {
        Error::unavailable(e).into()
    }
}
