use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use longline_noise::StaticKey;
use serde::{Deserialize, Serialize};

use super::Certificates;
use super::tls::Tls;

/// The room's certificate. Both files are read again when one of them changes; a pair that is of no use changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate, followed by those that lead to the root.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// Where WebSocket is offered. It always is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocketConfig {
    /// The path of the URL; any other is answered with 404.
    pub path: String,
}

/// Load balancers in front of the room.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Networks whose connections may begin with a PROXY header (version 1 or 2), which then says where the device is. They must
    /// hold nothing but proxies that always send it: whoever else connects from there can claim any address.
    pub trusted: Vec<IpNet>,
}

/// The encryption of Longline itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// File with the room's secret key; made if it is not there. Devices learn the public half from the dispatcher. Rooms behind
    /// one `public` address need the same key.
    pub key: PathBuf,
}

impl Default for WebSocketConfig {
    fn default() -> WebSocketConfig {
        WebSocketConfig { path: longline_websocket::PATH.to_owned() }
    }
}

/// What the ports of a room speak beside plain Longline TCP. Shared by its shards.
#[derive(Clone)]
pub struct Transports {
    pub(super) tls: Option<Arc<Certificates>>,
    pub(super) websocket_path: String,
    pub(super) noise: Option<Arc<StaticKey>>,
    trusted: Vec<IpNet>,
}

impl Default for Transports {
    /// WebSocket at its usual path.
    fn default() -> Transports {
        let websocket_path = WebSocketConfig::default().path;
        Transports { tls: None, websocket_path, noise: None, trusted: Vec::new() }
    }
}

impl Transports {
    /// Offers TLS.
    #[must_use]
    pub fn with_tls(self, certificates: Arc<Certificates>) -> Transports {
        Transports { tls: Some(certificates), ..self }
    }

    /// Offers WebSocket at this path.
    #[must_use]
    pub fn with_websocket(self, config: WebSocketConfig) -> Transports {
        Transports { websocket_path: config.path, ..self }
    }

    /// Offers Noise.
    #[must_use]
    pub fn with_noise(self, key: Arc<StaticKey>) -> Transports {
        Transports { noise: Some(key), ..self }
    }

    /// Believes these proxies.
    #[must_use]
    pub fn with_proxies(self, config: ProxyConfig) -> Transports {
        Transports { trusted: config.trusted, ..self }
    }

    /// Whether there is a key for Noise.
    pub(crate) fn speaks_noise(&self) -> bool {
        self.noise.is_some()
    }

    /// Whether a connection from this address may begin with a PROXY header.
    pub(crate) fn trusts(&self, proxy: IpAddr) -> bool {
        !self.trusted.is_empty() && {
            let proxy = proxy.to_canonical();
            self.trusted.iter().any(|network| network.contains(&proxy))
        }
    }
}

impl Certificates {
    /// The server's side of a new connection.
    pub(super) fn begin(&self) -> Option<Box<Tls>> {
        match Tls::new(self.current()) {
            Ok(tls) => Some(tls),
            Err(error) => {
                tracing::error!(%error, "TLS cannot begin");
                None
            }
        }
    }
}
