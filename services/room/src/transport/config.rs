use std::path::PathBuf;
use std::sync::Arc;

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

/// What the ports of a room speak beside plain Longline TCP. Shared by its shards.
#[derive(Clone, Default)]
pub struct Transports {
    pub(super) tls: Option<Arc<Certificates>>,
}

impl Transports {
    /// Offers TLS.
    #[must_use]
    pub fn with_tls(mut self, certificates: Arc<Certificates>) -> Transports {
        self.tls = Some(certificates);
        self
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
