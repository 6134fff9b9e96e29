//! The center service.
