//! Small helpers between Rust's values and SQLite's.

use longline_types::{Address, Error, ErrorCode, MessageId, MessageState, ProductId};
use serde::Serialize;

/// Why a change was not made: the request contradicts what is stored, or the database failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Refused(#[from] Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Refused(e) => e,
            Failure::Database(e) => unavailable(e),
        }
    }
}

/// A failure of the database that left nothing behind.
pub(super) fn unavailable(e: sqlx::Error) -> Error {
    tracing::warn!(error = %e, "the database failed");
    Error::unavailable(format_args!("the database failed: {e}"))
}

/// A failure after which the change may have been made or not.
pub(super) fn unknown(e: impl std::fmt::Display) -> Error {
    tracing::warn!(error = %e, "the outcome of a write is not known");
    Error::new(ErrorCode::DeadlineExceeded, format_args!("the outcome is not known: {e}"))
}

/// Times and sizes: SQLite's integers end at 2^63 - 1, which is long after everything.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Names such as incarnations, where every bit counts; [`unsigned`] turns it back.
pub(super) fn bits(value: u64) -> i64 {
    value as i64
}

/// A stored integer, whose sign means nothing.
pub(super) fn unsigned(value: i64) -> u64 {
    value as u64
}

/// A list as one bound value, for `json_each`: any number of rows in one prepared statement.
pub(super) fn json(rows: &[impl Serialize]) -> String {
    serde_json::to_string(rows).expect("integers and strings have a JSON form")
}

/// Ids for `json_each`.
pub(super) fn json_ids(ids: impl IntoIterator<Item = MessageId>) -> String {
    json(&ids.into_iter().map(|id| int(id.0)).collect::<Vec<_>>())
}

pub(super) fn state(number: i64) -> sqlx::Result<MessageState> {
    u8::try_from(number)
        .ok()
        .and_then(MessageState::from_number)
        .ok_or_else(|| corrupt(format_args!("no message state has the number {number}")))
}

pub(super) fn address(product: i64, user: &str) -> sqlx::Result<Address> {
    Address::new(product_id(product)?.0, user).map_err(corrupt)
}

pub(super) fn product_id(number: i64) -> sqlx::Result<ProductId> {
    u32::try_from(number).map(ProductId).map_err(corrupt)
}

/// Something is stored that this program never writes.
pub(super) fn corrupt(why: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(why.to_string().into())
}
