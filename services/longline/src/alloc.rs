//! The allocator of the process.

/// A room frees much at once after a storm of connections; with many arenas and slow decay that memory would not come back.
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, so that few keep free pages of their own; pages go back after 2 s, by a thread of jemalloc's own. `MALLOC_CONF`
/// in the environment changes it (`_RJEM_MALLOC_CONF`).
#[allow(unsafe_code)]
// SAFETY: jemalloc reads this symbol once at its start as a pointer to a string that ends with 0, which the first word of a
// slice is; nothing else has this name.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8] = b"narenas:4,background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0\0";
