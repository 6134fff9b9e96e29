//! Finding broadcasts to drive.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longline_member::Identity;
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{BroadcastRecord, ClaimBroadcastsRequest};
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::{Error, Role};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::drive::{End, drive};
use crate::config::{BroadcastConfig, millis};
use crate::metrics::Metrics;

/// Claims broadcasts and drives them, a bounded number at once. Clones share the claims.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(super) peers: Peers,
    pub(super) config: BroadcastConfig,
    pub(super) timeout: Duration,
    metrics: Metrics,
    /// (product, id) of those driven here.
    driven: Arc<Mutex<HashSet<(u32, u64)>>>,
}

/// Everyone who asks with this key asks the same saver, while the view stands.
const CLAIM_KEY: u64 = 0;

impl Driver {
    pub(crate) fn new(peers: Peers, config: BroadcastConfig, timeout: Duration, metrics: Metrics) -> Driver {
        Driver { peers, config, timeout, metrics, driven: Arc::default() }
    }

    /// Drives until `shutdown`: at once when `accepted` is notified, else now and then. Returns when all drives have ended.
    pub(crate) async fn run(
        self,
        identity: watch::Receiver<Identity>,
        accepted: Arc<Notify>,
        shutdown: CancellationToken,
    ) {
        let drives = TaskTracker::new();
        loop {
            let me = *identity.borrow();
            match self.claim(&me).await {
                Ok(records) => {
                    for record in records {
                        drives.spawn(self.clone().drive_one(record, me, shutdown.clone()));
                    }
                }
                Err(error) => tracing::debug!(%error, "no broadcasts were claimed"),
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = accepted.notified() => {}
                () = tokio::time::sleep(jittered(millis(self.config.claim_every_ms))) => {}
            }
        }
        drives.close();
        drives.wait().await;
    }

    /// Those that nobody drives, as many as there is room for here.
    async fn claim(&self, me: &Identity) -> Result<Vec<BroadcastRecord>, Error> {
        let limit = self.config.max_driven.saturating_sub(self.driven().len());
        if limit == 0 {
            return Ok(Vec::new());
        }
        let request = ClaimBroadcastsRequest {
            node: me.number,
            incarnation: me.incarnation,
            lease_ms: lease_ms(&self.config),
            limit: limit as u32,
        };
        let call = |channel| async move {
            SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE).claim_broadcasts(request).await
        };
        let claimed = self.peers.unary(Role::Saver, CLAIM_KEY, self.timeout, call).await?.broadcasts;
        let mut driven = self.driven();
        // One whose claim has lapsed meanwhile may come back while its drive goes on here.
        Ok(claimed.into_iter().filter(|record| driven.insert(key(record))).collect())
    }

    async fn drive_one(self, record: BroadcastRecord, me: Identity, shutdown: CancellationToken) {
        let key = key(&record);
        self.count("claimed");
        self.metrics.broadcasts_driven.inc();
        let (product, id) = key;
        tracing::info!(product, id, rate_per_second = record.rate_per_second, "driving a broadcast");
        match drive(&self, record, &me, &shutdown).await {
            End::Finished => self.count("finished"),
            End::Lost(error) => {
                tracing::warn!(product, id, %error, "the claim on a broadcast was lost");
                self.count("lost");
            }
            End::Stopped => self.count("handed_on"),
        }
        self.metrics.broadcasts_driven.dec();
        self.driven().remove(&key);
    }

    fn count(&self, event: &str) {
        self.metrics.broadcasts.with_label_values(&[event]).inc();
    }

    fn driven(&self) -> MutexGuard<'_, HashSet<(u32, u64)>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(record: &BroadcastRecord) -> (u32, u64) {
    (record.product, record.message.as_ref().map_or(0, |m| m.id))
}

pub(super) fn lease_ms(config: &BroadcastConfig) -> u32 {
    u32::try_from(config.lease_ms.max(1000)).unwrap_or(u32::MAX)
}

/// Between 3/4 and 5/4 of this, so that centers do not ask in step.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::random_range(0.75..1.25))
}
