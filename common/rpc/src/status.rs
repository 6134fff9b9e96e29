//! One mapping between [`Error`] and gRPC's status; the code travels in the metadata, so that nothing is lost on the way.

use longline_types::{Error, ErrorCode};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

const CODE: &str = "longline-code";

const CODES: [(ErrorCode, Code); 11] = [
    (ErrorCode::InvalidArgument, Code::InvalidArgument),
    (ErrorCode::Unauthenticated, Code::Unauthenticated),
    (ErrorCode::PermissionDenied, Code::PermissionDenied),
    (ErrorCode::NotFound, Code::NotFound),
    (ErrorCode::Conflict, Code::AlreadyExists),
    (ErrorCode::ResourceExhausted, Code::ResourceExhausted),
    (ErrorCode::Unavailable, Code::Unavailable),
    (ErrorCode::DeadlineExceeded, Code::DeadlineExceeded),
    (ErrorCode::WrongNode, Code::FailedPrecondition),
    (ErrorCode::Refilling, Code::Unavailable),
    (ErrorCode::Internal, Code::Internal),
];

/// The gRPC status that says this error.
pub fn status(error: Error) -> Status {
    let grpc = CODES.iter().find(|(ours, _)| *ours == error.code).map_or(Code::Internal, |(_, grpc)| *grpc);
    let mut status = Status::new(grpc, error.message);
    status.metadata_mut().insert(CODE, MetadataValue::from_static(error.code.name()));
    status
}

/// The error that a status says. A status of gRPC itself is unavailable where nothing can have been done, and of unknown
/// outcome ([`ErrorCode::DeadlineExceeded`]) where something may have been.
pub fn error(status: Status) -> Error {
    let named = status.metadata().get(CODE).and_then(|name| name.to_str().ok());
    let ours =
        named.and_then(|name| CODES.iter().find(|(ours, _)| ours.name() == name)).map(|(ours, _)| *ours);
    let code = ours.unwrap_or_else(|| match status.code() {
        Code::Unavailable => ErrorCode::Unavailable,
        Code::Cancelled | Code::Unknown | Code::Aborted | Code::DeadlineExceeded => {
            ErrorCode::DeadlineExceeded
        }
        other => CODES.iter().find(|(_, grpc)| *grpc == other).map_or(ErrorCode::Internal, |(ours, _)| *ours),
    });
    Error::new(code, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way() {
        for (code, _) in CODES {
            let there = Error::new(code, "why");
            assert_eq!(error(status(there.clone())), there);
        }
    }
}
