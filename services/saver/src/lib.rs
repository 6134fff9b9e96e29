//! The saver service.
