//! Product keys, user tokens and webhook signatures.
