use longline_config::NodeConfig;
use serde::{Deserialize, Serialize};

/// Configuration of a dispatcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every node has. `rpc` is the one port of HTTP and gRPC; `idc` is taken as the clients' own.
    pub node: NodeConfig,
    /// How long a client may keep an answer. Seconds.
    pub ttl_s: u32,
    /// Answers a second for one client address (of IPv6, for one /64); 0: no limit. Many phones share an address.
    pub per_ip_per_s: u32,
    /// Answers at once for a client address that was quiet.
    pub per_ip_burst: u32,
    /// Proxies in front of the dispatcher that add the client's address to X-Forwarded-For. 0: the header is not believed.
    pub trusted_proxies: usize,
    /// Connections at once; more are closed as they come.
    pub max_connections: usize,
    /// For a request's head to arrive. Milliseconds.
    pub head_timeout_ms: u64,
    /// For a request to be answered. Milliseconds.
    pub request_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: NodeConfig::default(),
            ttl_s: 60,
            per_ip_per_s: 200,
            per_ip_burst: 2_000,
            trusted_proxies: 0,
            max_connections: 10_000,
            head_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
        }
    }
}
