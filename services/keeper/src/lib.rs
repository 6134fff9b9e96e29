//! The keeper service.
