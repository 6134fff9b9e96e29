//! Taking over callbacks that are due again, or whose coordinator died.

use std::time::Duration;

use longline_member::Member;
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{ClaimUplinksRequest, UplinkRecord};
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::{Error, Role};
use tokio::time::Instant;

use crate::delivery::{Delivery, Job};
use crate::metrics::Metrics;

/// Uplinks claimed at once: that many of the largest size fit one reply.
const LIMIT: usize = 128;
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks the store for work, again and again.
pub(crate) struct Sweep {
    pub(crate) member: Member,
    pub(crate) peers: Peers,
    pub(crate) delivery: Delivery,
    pub(crate) metrics: Metrics,
    pub(crate) every: Duration,
    pub(crate) lease_ms: u32,
}

impl Sweep {
    /// Runs until it is dropped. A claim that gets lost in between runs out by itself.
    pub(crate) async fn run(self) {
        loop {
            // Coordinators that started together shall not ask together.
            tokio::time::sleep(self.every.mul_f64(rand::random_range(0.75..1.25))).await;
            while self.claim_some().await {}
        }
    }

    /// Claims as much as there is space for; true if there is probably more.
    async fn claim_some(&self) -> bool {
        let limit = self.delivery.space().min(LIMIT);
        if limit == 0 {
            return false;
        }
        let held_until = Instant::now() + Duration::from_millis(self.lease_ms.into());
        match self.claim(limit).await {
            Ok(records) => {
                let count = records.len();
                self.metrics.claimed.inc_by(count as u64);
                for record in records {
                    self.delivery.take_on(Job { record, held_until }).await;
                }
                count >= limit
            }
            Err(error) => {
                tracing::debug!(%error, "no uplinks could be claimed");
                false
            }
        }
    }

    async fn claim(&self, limit: usize) -> Result<Vec<UplinkRecord>, Error> {
        let identity = self.member.current();
        let request = ClaimUplinksRequest {
            node: identity.number,
            incarnation: identity.incarnation,
            lease_ms: self.lease_ms,
            limit: limit as u32,
        };
        let call = self.peers.unary(Role::Saver, rand::random(), CALL_TIMEOUT, |channel| async move {
            SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE).claim_uplinks(request).await
        });
        call.await.map(|reply| reply.uplinks)
    }
}
