use std::path::PathBuf;
use std::time::Duration;

use longline_config::NodeConfig;
use serde::{Deserialize, Serialize};

/// Configuration of a center.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every node has. `rpc` is the one port of HTTP and gRPC.
    pub node: NodeConfig,
    /// SHA-256 of the admin key, as 64 hex digits. Without this and without `admin_key_file`, /v1/admin answers 403.
    pub admin_key_sha256: Option<String>,
    /// File with the admin key itself (space around it does not count); read at start. At least 16 bytes.
    pub admin_key_file: Option<PathBuf>,
    /// Bounds of the HTTP side.
    pub http: HttpConfig,
    /// How long a put may take, retries included. Milliseconds.
    pub put_timeout_ms: u64,
    /// How long any other question to another service may take. Milliseconds.
    pub ask_timeout_ms: u64,
    /// The queue of hints: accepted messages on their way to a connected device.
    pub hints: HintConfig,
    /// Driving broadcasts.
    pub broadcasts: BroadcastConfig,
}

/// Bounds of the HTTP side.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Connections at once; more are closed as they come.
    pub max_connections: usize,
    /// Requests handled at once, over HTTP and as single gRPC calls; more are answered 503 or UNAVAILABLE.
    pub max_requests: usize,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// For a request's head to arrive, also of the first one on a connection. Milliseconds.
    pub head_timeout_ms: u64,
    /// For a request's body to arrive. Milliseconds.
    pub body_timeout_ms: u64,
    /// For a request to be answered, its body's arrival included. Milliseconds.
    pub request_timeout_ms: u64,
}

/// Bounds of the queue of hints. What does not fit is dropped and counted: the inbox is the truth, and a check finds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HintConfig {
    /// Messages that wait or are on their way.
    pub max_items: usize,
    /// Bytes of their payloads; a payload counts once per user.
    pub max_bytes: usize,
    /// For one lookup, delivery or unbinding. Milliseconds.
    pub step_timeout_ms: u64,
}

/// How broadcasts are driven.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcastConfig {
    /// How often unfinished broadcasts that nobody drives are looked for. Milliseconds.
    pub claim_every_ms: u64,
    /// How long a claim stands without a report; after that another center takes over. Milliseconds.
    pub lease_ms: u64,
    /// How often rooms are asked how far they are. Milliseconds.
    pub poll_every_ms: u64,
    /// Broadcasts driven at once by this center.
    pub max_driven: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: NodeConfig::default(),
            admin_key_sha256: None,
            admin_key_file: None,
            http: HttpConfig::default(),
            put_timeout_ms: 5_000,
            ask_timeout_ms: 3_000,
            hints: HintConfig::default(),
            broadcasts: BroadcastConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            max_connections: 10_000,
            max_requests: 2_048,
            max_body_bytes: 1024 * 1024,
            head_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            request_timeout_ms: 20_000,
        }
    }
}

impl Default for HintConfig {
    fn default() -> HintConfig {
        HintConfig { max_items: 65_536, max_bytes: 128 * 1024 * 1024, step_timeout_ms: 3_000 }
    }
}

impl Default for BroadcastConfig {
    fn default() -> BroadcastConfig {
        BroadcastConfig { claim_every_ms: 2_000, lease_ms: 15_000, poll_every_ms: 500, max_driven: 16 }
    }
}

/// A configured number of milliseconds; 0 is taken as 1.
pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms.max(1))
}
