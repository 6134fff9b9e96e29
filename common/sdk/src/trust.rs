//! How the client knows that a room is the one it means.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use longline_noise::PublicKey;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::StartError;
use crate::transport::{Target, Transport};

/// What the application has said.
#[derive(Clone, Default, Debug)]
pub(crate) struct TrustOptions {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) tls_name: Option<String>,
    pub(crate) noise_key: Option<String>,
}

/// What rooms are checked against.
#[derive(Clone)]
pub(crate) struct Trust {
    /// For TLS; the system's certificates are read when they are first needed.
    roots: Roots,
    /// The name in the room's certificate; the endpoint's host if there is none.
    tls_name: Option<ServerName<'static>>,
    pub(crate) noise_key: Option<PublicKey>,
}

#[derive(Clone)]
enum Roots {
    Given(Arc<ClientConfig>),
    System(Arc<OnceLock<Result<Arc<ClientConfig>, String>>>),
}

impl Trust {
    /// # Errors
    /// If a file, a name or a key that was given is of no use.
    pub(crate) fn new(options: TrustOptions) -> Result<Trust, StartError> {
        let TrustOptions { ca_file, tls_name, noise_key } = options;
        let roots = match ca_file {
            Some(path) => {
                Roots::Given(from_file(&path).map_err(|reason| StartError::CaFile { path, reason })?)
            }
            None => Roots::System(Arc::default()),
        };
        let tls_name = match tls_name {
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| StartError::TlsName(name))?),
            None => None,
        };
        let noise_key = match noise_key {
            Some(text) => Some(text.parse().map_err(StartError::NoiseKey)?),
            None => None,
        };
        Ok(Trust { roots, tls_name, noise_key })
    }

    /// What begins TLS, for what this transport carries in it. Sessions are resumed whichever it is.
    pub(crate) fn tls(&self, transport: Transport) -> Result<TlsConnector, String> {
        let config = match &self.roots {
            Roots::Given(config) => Arc::clone(config),
            Roots::System(config) => config.get_or_init(from_system).clone()?,
        };
        let alpn: &[u8] = if transport.is_websocket() { b"http/1.1" } else { b"longline/1" };
        let mut config = (*config).clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// The same for a room that has this key; without one the application's holds.
    pub(crate) fn with_noise_key(&self, key: Option<PublicKey>) -> Trust {
        Trust { noise_key: key.or(self.noise_key), ..self.clone() }
    }

    /// The name that the room's certificate has to have.
    pub(crate) fn name_of(&self, target: &Target<'_>) -> Result<ServerName<'static>, InvalidDnsNameError> {
        match &self.tls_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(target.host().to_owned()),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("tls_name", &self.tls_name).finish_non_exhaustive()
    }
}

fn from_file(path: &std::path::Path) -> Result<Arc<ClientConfig>, String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    config(roots)
}

/// Reads files; once in the life of a client.
fn from_system() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("the system has no certificates to trust; give a CA file{reason}"));
    }
    config(roots)
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
