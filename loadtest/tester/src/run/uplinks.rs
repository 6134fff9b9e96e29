//! The business that takes the uplinks: what rooms confirmed must have come here.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use longline_load_results::Uplinks;
use longline_load_traffic::webhook::{Options, Webhook};

use crate::link::Outcome;

/// The webhook, for the whole run.
pub(crate) struct Business {
    webhook: Webhook,
    /// Repeats up to the leg that runs now.
    repeated: u64,
}

impl Business {
    /// Listens on loopback, where servers of this machine reach it, or on all addresses for those that run elsewhere.
    pub(crate) async fn open(elsewhere: bool) -> anyhow::Result<Business> {
        let ip = if elsewhere { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let options = Options { listen: SocketAddr::from((ip, 0)), secret: None, fail_one_in: 0 };
        let webhook = Webhook::start(options).await.context("cannot open the webhook for uplinks")?;
        Ok(Business { webhook, repeated: 0 })
    }

    /// What the product's route gets as its URL.
    pub(crate) fn url(&self) -> String {
        self.webhook.url()
    }

    /// Compares what the agents' devices were told is safe with what has come.
    pub(crate) fn check(&mut self, outcomes: &[Outcome], run: u32) -> Uplinks {
        let record = self.webhook.record();
        let acked: u64 = outcomes.iter().map(|outcome| outcome.uplinks.len()).sum();
        let missing = outcomes.iter().map(|o| record.missing(run, o.agent, o.uplinks.words()));
        let lost: u64 = missing.sum();
        let duplicated = record.repeated - self.repeated;
        self.repeated = record.repeated;
        Uplinks { acked, received: acked - lost, lost, duplicated }
    }
}
