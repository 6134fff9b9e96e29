//! From a claimed uplink to the business's answer.

use std::sync::Arc;
use std::time::Duration;

use longline_pb::saver::{UplinkKind, UplinkRecord};
use longline_pool::{FairOptions, FairPool};
use longline_products::{Product, ProductTable};
use longline_types::{MessageId, ProductId, now_ms};
use prometheus::Registry;
use tokio::time::Instant;

use crate::body::body;
use crate::config::WebhookConfig;
use crate::finish::Finisher;
use crate::metrics::{Metrics, Outcome};
use crate::schedule::Schedule;
use crate::webhook::{Answer, Webhooks};

/// An uplink that this coordinator has claimed.
pub(crate) struct Job {
    pub(crate) record: UplinkRecord,
    /// After this another coordinator may have it.
    pub(crate) held_until: Instant,
}

/// Works on claimed uplinks, each product within its share, and sees to it that the store learns what became of each.
#[derive(Clone)]
pub(crate) struct Delivery {
    pool: FairPool<Job>,
    courier: Arc<Courier>,
}

/// What a delivery works with.
pub(crate) struct Courier {
    pub(crate) products: ProductTable,
    pub(crate) webhooks: Webhooks,
    pub(crate) finisher: Finisher,
    pub(crate) schedule: Schedule,
    pub(crate) metrics: Metrics,
}

impl Delivery {
    pub(crate) fn start(
        config: &WebhookConfig,
        courier: Courier,
        registry: &Registry,
    ) -> Result<Delivery, prometheus::Error> {
        let options = FairOptions {
            name: "webhooks",
            workers: config.at_once,
            capacity: config.waiting,
            workers_per_key: config.at_once_per_product,
            capacity_per_key: config.waiting_per_product,
        };
        let courier = Arc::new(courier);
        let working = Arc::clone(&courier);
        let pool = FairPool::start(options, registry, move |job| {
            let courier = Arc::clone(&working);
            async move { courier.deliver(job).await }
        })?;
        Ok(Delivery { pool, courier })
    }

    /// Takes a claimed uplink on. If its product has its share of work already, it goes back to the store for later.
    pub(crate) async fn take_on(&self, job: Job) {
        let product = product_of(&job.record);
        if let Err(refused) = self.pool.submit(u64::from(product.0), job) {
            self.courier.metrics.tried(Outcome::Busy);
            self.courier.try_later(&refused.job.record).await;
        }
    }

    /// Uplinks that could be taken on now.
    pub(crate) fn space(&self) -> usize {
        self.pool.space()
    }

    /// Lets the tries that have begun end within the deadline, and gives the others back for another coordinator to take at once.
    pub(crate) async fn stop(&self, deadline: Duration) {
        for job in self.pool.stop(deadline).await {
            self.courier.finisher.put_off(job.record.id, now_ms()).await;
        }
    }
}

impl Courier {
    async fn deliver(&self, job: Job) {
        let record = &job.record;
        let outcome = self.attempt(&job).await;
        self.metrics.tried(outcome);
        match outcome {
            Outcome::Taken => self.finisher.done(record.id).await,
            Outcome::Gone => {
                tracing::warn!(id = record.id, product = %product_of(record), "the business wants this callback no more");
                self.finisher.done(record.id).await;
            }
            _ => self.try_later(record).await,
        }
    }

    /// One try, if the claim lasts for the whole of it.
    async fn attempt(&self, job: &Job) -> Outcome {
        if Instant::now() + self.webhooks.timeout() > job.held_until {
            return Outcome::Busy;
        }
        let record = &job.record;
        let product = match self.products.find(product_of(record)).await {
            Ok(Some(product)) => product,
            Ok(None) | Err(_) => return Outcome::NoRoute,
        };
        let url = match url(&product, record) {
            Some(url) => url,
            // A product that asks for presence no more has no use for what is left of it.
            None if is_presence(record) => return Outcome::Gone,
            None => return Outcome::NoRoute,
        };
        let began = Instant::now();
        let answer = self.webhooks.post(url, &product.webhook_secret, record.id, body(record)).await;
        self.metrics.webhook_seconds.observe(began.elapsed().as_secs_f64());
        tracing::debug!(id = record.id, product = %product.id, ?answer, "a webhook was called");
        match answer {
            Answer::Taken => Outcome::Taken,
            Answer::Gone => Outcome::Gone,
            Answer::Status(_) => Outcome::Refused,
            Answer::TimedOut => Outcome::TimedOut,
            Answer::Failed(_) => Outcome::Failed,
        }
    }

    /// Puts the uplink off, or gives it up if it is too old.
    async fn try_later(&self, record: &UplinkRecord) {
        let accepted_at_ms = MessageId(record.id).time_ms();
        match self.schedule.next_try(record.attempts, accepted_at_ms, now_ms()) {
            Some(at_ms) => self.finisher.put_off(record.id, at_ms).await,
            None => {
                self.metrics.given_up.inc();
                let (product, attempts) = (product_of(record), record.attempts);
                tracing::warn!(id = record.id, %product, attempts, "a callback was given up: nobody took it in time");
                self.finisher.done(record.id).await;
            }
        }
    }
}

fn product_of(record: &UplinkRecord) -> ProductId {
    ProductId(record.address.as_ref().map_or(0, |address| address.product))
}

fn is_presence(record: &UplinkRecord) -> bool {
    matches!(record.kind(), UplinkKind::Online | UplinkKind::Offline)
}

fn url<'a>(product: &'a Product, record: &UplinkRecord) -> Option<&'a str> {
    if is_presence(record) {
        product.presence_url.as_deref()
    } else {
        product.routes.get(&record.route).map(String::as_str)
    }
}
