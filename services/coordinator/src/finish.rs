//! Telling the store how tries ended, many at a time.

use std::time::Duration;

use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{FinishUplinksRequest, FinishedUplink};
use longline_pool::{Pool, PoolOptions, WhenFull};
use longline_rpc::Peers;
use longline_types::{Error, Role, TimeMs};
use prometheus::Registry;
use tokio::time::Instant;

/// Collects outcomes and brings them to a saver. One that gets lost on the way costs a repeated try: the claim on the uplink
/// runs out, and somebody tries again, under the same id.
#[derive(Clone)]
pub(crate) struct Finisher {
    pool: Pool<FinishedUplink>,
}

const WORKERS: usize = 4;
const CAPACITY: usize = 16_384;
const BATCH: usize = 256;
/// For one call, and for all calls about one batch.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

impl Finisher {
    pub(crate) fn start(peers: Peers, registry: &Registry) -> Result<Finisher, prometheus::Error> {
        let options = PoolOptions {
            name: "uplink_outcomes",
            workers: WORKERS,
            capacity: CAPACITY,
            batch: BATCH,
            when_full: WhenFull::Refuse,
        };
        let pool = Pool::start(options, registry, move |outcomes| report(peers.clone(), outcomes))?;
        Ok(Finisher { pool })
    }

    /// The business has it, or it was given up: nobody shall try again.
    pub(crate) async fn done(&self, id: u64) {
        self.submit(FinishedUplink { id, taken: true, next_try_at_ms: 0 }).await;
    }

    /// Somebody shall try again at this time.
    pub(crate) async fn put_off(&self, id: u64, next_try_at_ms: TimeMs) {
        self.submit(FinishedUplink { id, taken: false, next_try_at_ms }).await;
    }

    /// Brings away what is there, within the deadline.
    pub(crate) async fn stop(&self, deadline: Duration) {
        let left = self.pool.stop(deadline).await;
        if left > 0 {
            tracing::warn!(left, "outcomes of webhooks were not stored; these will be tried again");
        }
    }

    async fn submit(&self, outcome: FinishedUplink) {
        let id = outcome.id;
        if let Err(refused) = self.pool.submit(outcome).await {
            tracing::debug!(id, %refused, "an outcome is not stored; the uplink will be tried again");
        }
    }
}

async fn report(peers: Peers, uplinks: Vec<FinishedUplink>) {
    let until = Instant::now() + TIMEOUT;
    let request = FinishUplinksRequest { uplinks };
    loop {
        let Err(error) = call(&peers, &request).await else { return };
        if Instant::now() + PAUSE >= until {
            let count = request.uplinks.len();
            tracing::warn!(%error, count, "outcomes of webhooks could not be stored; these will be tried again");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn call(peers: &Peers, request: &FinishUplinksRequest) -> Result<(), Error> {
    let key = rand::random();
    let call = peers.unary(Role::Saver, key, CALL_TIMEOUT, |channel| async move {
        SaverClient::new(channel).finish_uplinks(request.clone()).await
    });
    call.await.map(|_| ())
}
