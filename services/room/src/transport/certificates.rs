//! The certificate of a room, read again when its files change.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Opts, Registry};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use tokio_util::sync::CancellationToken;

use super::TlsConfig;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What a client may ask for by ALPN: the protocol itself, or HTTP for WebSocket.
const ALPN: [&[u8]; 2] = [b"longline/1", b"http/1.1"];

/// A certificate with its key, as it is now.
pub struct Certificates {
    files: TlsConfig,
    /// One for all certificates, so that sessions are resumed after a change as well.
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<ServerConfig>,
    seen: Mutex<[Seen; 2]>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be read, is not PEM, or the key is not that of the certificate.
    pub fn open(files: TlsConfig) -> anyhow::Result<Arc<Certificates>> {
        let tickets = aws_lc_rs::Ticketer::new().context("no keys can be made for TLS tickets")?;
        let seen = Mutex::new(look(&files));
        let current = ArcSwap::from_pointee(load(&files, Arc::clone(&tickets))?);
        Ok(Arc::new(Certificates { files, tickets, current, seen }))
    }

    /// What new connections get.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files if one has changed since they were looked at last; says whether they were taken.
    ///
    /// # Errors
    /// As [`Certificates::open`]; then the certificate stays as it was until a file changes again.
    pub fn reload(&self) -> anyhow::Result<bool> {
        let now = look(&self.files);
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before == now {
            return Ok(false);
        }
        self.current.store(Arc::new(load(&self.files, Arc::clone(&self.tickets))?));
        Ok(true)
    }

    /// Looks after the files until `shutdown`.
    ///
    /// # Errors
    /// If its metric is registered already.
    pub(crate) fn watch(
        self: Arc<Self>,
        registry: &Registry,
        shutdown: CancellationToken,
    ) -> prometheus::Result<()> {
        let reloads = reloads()?;
        registry.register(Box::new(reloads.clone()))?;
        let (taken, refused) = (reloads.with_label_values(&["ok"]), reloads.with_label_values(&["failed"]));
        tokio::spawn(async move {
            let mut every = tokio::time::interval(LOOK);
            while shutdown.run_until_cancelled(every.tick()).await.is_some() {
                let certificates = Arc::clone(&self);
                match tokio::task::spawn_blocking(move || certificates.reload()).await {
                    Ok(Ok(false)) => {}
                    Ok(Ok(true)) => {
                        taken.inc();
                        tracing::info!(file = %self.files.certificate.display(), "a new certificate is in use");
                    }
                    Ok(Err(error)) => {
                        refused.inc();
                        tracing::error!("{error:#}; the certificate stays as it was: correct the files");
                    }
                    // It has panicked, which was logged; or the runtime ends.
                    Err(_) => {}
                }
            }
        });
        Ok(())
    }
}

fn reloads() -> prometheus::Result<IntCounterVec> {
    let options = Opts::new("longline_room_certificate_reloads_total", "Changes of the certificate's files.");
    IntCounterVec::new(options, &["result"])
}

/// The metric that [`Certificates::watch`] counts in.
#[cfg(test)]
pub(crate) fn metric_descriptions() -> Vec<prometheus::core::Desc> {
    use prometheus::core::Collector as _;
    reloads().expect("name and help are valid").desc().into_iter().cloned().collect()
}

fn load(files: &TlsConfig, tickets: Arc<dyn ProducesTickets>) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificate {}", files.certificate.display()))?;
    anyhow::ensure!(!chain.is_empty(), "{} has no certificate in it", files.certificate.display());
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read the private key {}", files.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("the TLS library offers no version")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{} and {} do not fit", files.certificate.display(), files.key.display()))?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.ticketer = tickets;
    // Who comes back brings its session along in a ticket, so that nothing is kept of it here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn look(files: &TlsConfig) -> [Seen; 2] {
    [&files.certificate, &files.key].map(|path| Seen::of(path))
}

impl Seen {
    /// Of a file that is not there: nothing.
    fn of(path: &Path) -> Seen {
        let of = |data: Metadata| Seen {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        };
        std::fs::metadata(path).map_or_else(|_| Seen::default(), of)
    }
}
