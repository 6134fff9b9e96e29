//! Why a `run.json` cannot be read.

use crate::SCHEMA;

/// Why a `run.json` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The text is not a `run.json`.
    #[error("it is not a run.json: {0}")]
    Json(#[from] serde_json::Error),
    /// It was written by another version of the load tester.
    #[error("its schema is {found}, this version reads {SCHEMA}")]
    Schema {
        /// The number it carries.
        found: u32,
    },
}
