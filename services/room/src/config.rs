use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::AdmissionConfig;

/// How the engine is set. Every bound of the room's memory is here.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Threads, each with its own share of the sessions; 0: one per core. At most 255.
    pub shards: u8,
    /// Most connections of the room. Those beyond are told to come back later (CLOSE 1001).
    pub max_sessions: u32,
    /// Most connections of a shard that have not sent a whole HELLO.
    pub max_unauthenticated: u32,
    /// A connection that has not sent a whole HELLO by then is closed (1003).
    pub handshake_ms: u32,
    /// TLS and Noise handshakes that a shard begins in one turn; the others wait for the next, within `handshake_ms`.
    pub handshakes_per_turn: u16,
    /// WELCOME waits this long for the binds of HELLO to be decided; those that are not are told by BOUND.
    pub welcome_wait_ms: u32,
    /// Longest HELLO. It holds up to 16 tokens.
    pub hello_bytes: u32,
    /// Most unwritten bytes of a session, if its product does not want fewer (`max_queued_bytes`). Beyond them its binds are dirty
    /// instead (invariant 5), or it is closed (1004), as the product wants (`slow_reader`).
    pub output_bytes: u32,
    /// Most unwritten bytes of all sessions of a shard.
    pub shard_output_bytes: u64,
    /// The kernel's send buffer of a connection, in which what a slow device does not take lies beside that; the kernel takes as much
    /// again for its own. 0: as the system has it, which may be megabytes.
    pub send_buffer_bytes: u32,
    /// A session that takes none of its unwritten bytes for this long is closed (1004).
    pub write_timeout_ms: u32,
    /// A connection whose device acknowledges nothing of what was sent for this long, on the level of TCP, is broken
    /// (`TCP_USER_TIMEOUT`); 0: as the kernel does it, after some 15 minutes.
    pub tcp_user_timeout_ms: u32,
    /// How long a closed connection may take to read its CLOSE. A slow reader (1004) whose socket still takes something has
    /// `write_timeout_ms`, since what was queued comes before.
    pub linger_ms: u32,
    /// A session whose connection broke is kept this long for its device to resume it; 0: not at all.
    pub park_ms: u32,
    /// Most parked sessions of the room; each shard has an equal share. Beyond it the one that was parked first goes.
    pub parked_sessions: u32,
    /// Most bytes of memory that they may take, shared likewise.
    pub parked_bytes: u64,
    /// Every bound address is checked this often: the longest delay that a lost hint can cause (D2).
    pub check_s: u32,
    /// "Soon": checks after an overflow, a refill or a new incarnation are spread over this time.
    pub check_soon_ms: u32,
    /// Messages of one load, at most the bind's window.
    pub load_limit: u16,
    /// Bytes of payload of one load.
    pub load_bytes: u32,
    /// Most loads that a shard has under way at once; it asks fewer while the savers answer slowly.
    pub loads_in_flight: u32,
    /// A load that nobody has answered by then has failed.
    pub load_deadline_ms: u32,
    /// First wait after a failed load, ack or renewed bind; doubles.
    pub retry_ms: u32,
    /// Longest such wait.
    pub retry_max_ms: u32,
    /// Longest wait of a stalled bind for its redelivery (D5).
    pub stall_max_s: u32,
    /// Uplinks of a session that wait for their answer.
    pub uplinks_per_session: u16,
    /// Bytes of uplinks of a shard that wait for their answer.
    pub uplink_bytes: u64,
    /// Frames a second that a device may send, beyond one for each message pushed to it.
    pub frames_per_second: u32,
    /// Frames that it may send at once.
    pub frame_burst: u32,
    /// Heartbeat interval for 2G and 3G.
    pub heartbeat_slow_s: u32,
    /// Shortest heartbeat interval for the other networks unless the product wants a shorter one.
    pub heartbeat_min_s: u32,
    /// Longest heartbeat interval.
    pub heartbeat_max_s: u32,
    /// Shortest heartbeat interval that a product or a device may ask for.
    pub heartbeat_floor_s: u32,
    /// Deliveries that wait for a shard.
    pub queue_items: u32,
    /// Their bytes of payload.
    pub queue_bytes: u64,
    /// Batches of questions that wait for the links.
    pub cluster_batches: u32,
    /// Questions that wait in a shard beyond those; while there are more it takes no connections, binds and uplinks.
    pub cluster_backlog: u32,
    /// Bytes read from one connection before the others have their turn.
    pub read_bytes: u32,
    /// Who may connect, and how fast.
    pub admission: AdmissionConfig,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            shards: 0,
            max_sessions: 1_000_000,
            max_unauthenticated: 10_000,
            handshake_ms: 10_000,
            handshakes_per_turn: 4,
            welcome_wait_ms: 3_000,
            hello_bytes: 80 * 1024,
            output_bytes: 256 * 1024,
            shard_output_bytes: 256 * 1024 * 1024,
            send_buffer_bytes: 128 * 1024,
            write_timeout_ms: 30_000,
            tcp_user_timeout_ms: 60_000,
            linger_ms: 1_000,
            park_ms: 30_000,
            parked_sessions: 200_000,
            parked_bytes: 128 * 1024 * 1024,
            check_s: 300,
            check_soon_ms: 10_000,
            load_limit: 64,
            load_bytes: 128 * 1024,
            loads_in_flight: 2048,
            load_deadline_ms: 60_000,
            retry_ms: 500,
            retry_max_ms: 30_000,
            stall_max_s: 3600,
            uplinks_per_session: 16,
            uplink_bytes: 16 * 1024 * 1024,
            frames_per_second: 50,
            frame_burst: 500,
            heartbeat_slow_s: 300,
            heartbeat_min_s: 240,
            heartbeat_max_s: 480,
            heartbeat_floor_s: 5,
            queue_items: 16 * 1024,
            queue_bytes: 32 * 1024 * 1024,
            cluster_batches: 64,
            cluster_backlog: 64 * 1024,
            read_bytes: 64 * 1024,
            admission: AdmissionConfig::default(),
        }
    }
}

impl EngineConfig {
    /// As the kernel is to be told; none: as it does it itself.
    pub(crate) fn tcp_user_timeout(&self) -> Option<Duration> {
        (self.tcp_user_timeout_ms > 0).then(|| Duration::from_millis(self.tcp_user_timeout_ms.into()))
    }

    /// Threads to run.
    pub fn shard_count(&self) -> u8 {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(255) as u8),
            n => n,
        }
    }
}
