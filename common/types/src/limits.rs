//! Limits that several services enforce alike. Sizes are in bytes.

/// Longest user name.
pub const USER: usize = 128;
/// Longest payload of a message, a broadcast or an uplink.
pub const PAYLOAD: usize = 64 * 1024;
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY: usize = 128;
/// Longest collapse key.
pub const COLLAPSE_KEY: usize = 64;
/// Longest device id.
pub const DEVICE: usize = 128;
/// Longest user token.
pub const TOKEN: usize = 4 * 1024;
/// Longest admission ticket.
pub const TICKET: usize = 512;
/// Most addresses a session binds.
pub const BINDS: usize = 16;
/// Most ids in one ACK frame.
pub const ACK_IDS: usize = 1024;
/// Most users of one multicast.
pub const USERS_PER_SEND: usize = 1000;
/// Most items of a pipelined batch.
pub const BATCH_ITEMS: usize = 256;
/// Most bytes of a pipelined batch; a single larger item goes alone.
pub const BATCH_BYTES: usize = 256 * 1024;
