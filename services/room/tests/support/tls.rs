use std::net::TcpStream;
use std::sync::Arc;

use longline_room::{Certificates, TlsConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;

/// Files with a certificate for `localhost`.
pub struct Authority {
    pub folder: TempDir,
    pub files: TlsConfig,
    pub certificates: Arc<Certificates>,
}

impl Authority {
    pub fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let files =
            TlsConfig { certificate: folder.path().join("room.crt"), key: folder.path().join("room.key") };
        write_new(&files);
        let certificates = Certificates::open(files.clone()).unwrap();
        Authority { folder, files, certificates }
    }

    /// The certificate in the file.
    pub fn certificate(&self) -> CertificateDer<'static> {
        use rustls::pki_types::pem::PemObject as _;
        CertificateDer::from_pem_file(&self.files.certificate).unwrap()
    }

    /// A client that trusts it.
    pub fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Puts a new certificate and its key into the files.
pub fn write_new(files: &TlsConfig) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
}

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A client whose handshake is done; an error if the room refuses it.
pub fn handshaken(config: &Arc<ClientConfig>, mut socket: TcpStream) -> Result<TlsStream, String> {
    let name = "localhost".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    socket.set_read_timeout(Some(super::DEADLINE)).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(|error| error.to_string())?;
    }
    socket.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    Ok(StreamOwned::new(connection, socket))
}
