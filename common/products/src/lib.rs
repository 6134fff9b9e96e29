//! The table of products that every service keeps fresh from a saver.
