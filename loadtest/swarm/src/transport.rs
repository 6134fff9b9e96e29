//! Over what devices connect, and what they need to know for it.

use std::io;
use std::sync::Arc;

use longline_noise::PublicKey;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// What carries the frames of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket inside TLS.
    Wss,
    /// Noise.
    Noise,
}

/// Over what devices connect.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Transports {
    /// Weights among the devices; none: all on TCP.
    pub shares: Vec<(Transport, f64)>,
    /// Certificates that are trusted, as PEM.
    pub roots: Vec<u8>,
    /// The name that the rooms' certificates have, and the host that WebSocket asks for; `localhost` if it is empty.
    pub host: String,
    /// The rooms' public key.
    pub noise_key: Option<[u8; 32]>,
}

/// The same, ready to be used.
pub(crate) struct Links {
    host: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    noise_key: Option<PublicKey>,
}

impl Links {
    /// # Errors
    /// If the certificates or the name are none.
    pub(crate) fn new(transports: &Transports) -> io::Result<Links> {
        let host = if transports.host.is_empty() { "localhost" } else { &transports.host }.to_owned();
        let tls = if transports.roots.is_empty() {
            None
        } else {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            Some((config(&transports.roots)?, name))
        };
        Ok(Links { host, tls, noise_key: transports.noise_key.map(PublicKey::new) })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The device's side of a new TLS connection that carries this.
    pub(crate) fn tls(&self, alpn: &[u8]) -> io::Result<ClientConnection> {
        let (config, name) =
            self.tls.as_ref().ok_or_else(|| io::Error::other("TLS needs certificates to trust"))?;
        let alpn = vec![alpn.to_vec()];
        ClientConnection::new_with_alpn(Arc::clone(config), name.clone(), alpn).map_err(io::Error::other)
    }

    pub(crate) fn noise_key(&self) -> io::Result<PublicKey> {
        self.noise_key.ok_or_else(|| io::Error::other("Noise needs the rooms' public key"))
    }
}

/// Without resumption: every connect is a whole handshake, and devices keep no tickets.
fn config(roots: &[u8]) -> io::Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots) {
        store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
