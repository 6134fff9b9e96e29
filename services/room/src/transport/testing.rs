//! The client's side of TLS for the tests, without sockets.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{Certificates, TlsConfig, Transports};

/// A room's certificate for `localhost`, and the setting of clients that trust it.
pub(crate) struct Authority {
    pub(crate) transports: Transports,
    pub(crate) client: Arc<ClientConfig>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files =
            TlsConfig { certificate: folder.path().join("room.crt"), key: folder.path().join("room.key") };
        std::fs::write(&files.certificate, cert.pem()).unwrap();
        std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let transports = Transports::default().with_tls(Certificates::open(files).unwrap());
        Authority { transports, client: Arc::new(client) }
    }

    pub(crate) fn client(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.client), "localhost".try_into().unwrap()).unwrap()
    }
}

/// What the client has to send.
pub(crate) fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What the client reads out of these bytes.
pub(crate) fn read(client: &mut ClientConnection, mut wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !wire.is_empty() {
        client.read_tls(&mut wire).unwrap();
        let state = client.process_new_packets().unwrap();
        let start = plain.len();
        plain.resize(start + state.plaintext_bytes_to_read(), 0);
        client.reader().read_exact(&mut plain[start..]).unwrap();
    }
    plain
}

/// The client's bytes for these.
pub(crate) fn sealed(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    client.writer().write_all(plain).unwrap();
    sent(client)
}
