//! Storage in Redis and MySQL, for a cluster of savers.
//!
//! Redis holds the inboxes, MySQL the same messages as rows. What each of the two is believed:
//!
//! - **The row decides how a message ended** (S5): every ending is committed in MySQL, conditional on the row still waiting, before Redis
//!   is told. Only what one message does to another (collapse key, inbox limit) is decided in Redis, by the script that adds
//!   it; what it pushes out stays in the slot's `endings` until MySQL knows, and any saver settles what was left there.
//! - **`synced`** (S2): rows, idempotency records and a note in one transaction, then Redis, then the answer. If Redis fails after the
//!   commit, the answer is `Unavailable`, so that the caller repeats the same id. If he does not, or this saver dies in between, the
//!   note in MySQL remains, and any saver brings Redis in line with the rows some seconds later ([`notes`]). Undoing the slot's
//!   `filled` mark would not do: the process that failed may be alive and unreachable, with its mark in place.
//! - **`fast`** (S2): one script writes the inbox and `unflushed`, then the answer. The row is kept in memory too, so that a Redis that
//!   loses it does not lose the message ([`flush`]). Whoever ends a message whose row is not there yet writes the row first; the
//!   late write finds it and changes nothing.
//! - **An inbox is believed complete** (S4) only while the slot's mark equals the run id of the Redis process that answers, looked at in
//!   the same script ([`fill`]). A link never reconnects by itself, so what its scripts compare is the process they run in
//!   ([`redis_link`]).
//! - **Removals during a fill** are not noted in Redis, as the contract suggests, but found in MySQL: since an ending is committed before
//!   Redis is told, whoever adds rows to Redis looks at them again afterwards and takes out what has ended
//!   ([`inboxes`]). This needs no memory and holds for each way of adding: fills, notes, retries.
//! - **While Redis is away** puts, loads and acknowledgements fail as `Unavailable`. While MySQL is away loads of known addresses and
//!   `fast` puts without a key go on.

mod account;
mod active;
mod broadcasts;
mod clock;
mod config;
mod cursors;
mod endings;
mod fill;
mod flush;
mod inboxes;
mod keys;
mod loads;
mod messages;
mod notes;
mod partitions;
mod products;
mod puts;
mod redis_link;
mod row;
mod scripts;
mod sql;
mod upkeep;
mod uplinks;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use longline_pb::saver::{BroadcastRecord, MessageRecord, Product, UplinkRecord};
use longline_types::{Address, Error, MessageId, ProductId};
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::store::{
    Account, Ack, Check, Claim, FinishUplink, Inbox, Load, Loaded, Put, PutBroadcast, PutUplink, Recalled,
    Report, Store, Stored, StoredBroadcast,
};

/// The store in Redis and MySQL. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    core: Arc<Core>,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A database is not there (yet): try again.
    #[error("{0}")]
    Unavailable(String),
    /// The configuration, or a database's configuration, must be changed first.
    #[error("{0}")]
    Refused(String),
}

struct Core {
    config: Config,
    sql: sql::Sql,
    redis: redis_link::Redis,
    clock: clock::Clock,
    queue: flush::Queue,
    done: notes::Done,
    active: active::Cache,
}

impl Cluster {
    /// Connects to both databases and brings the schema up to date. `Refused` tells what to change; otherwise try again.
    pub async fn open(config: &Config) -> Result<Cluster, OpenError> {
        let refused = |e: String| OpenError::Refused(e);
        let unavailable = |e: Error| OpenError::Unavailable(e.message);
        let url = config.database().map_err(refused)?;
        let sql = sql::Sql::new(url, config.mysql_connections, config.mysql_timeout())
            .map_err(|e| OpenError::Refused(format!("`mysql` is no address of a database: {e}")))?;
        let redis = redis_link::Redis::new(&config.redis, config.redis_timeout()).map_err(refused)?;
        match redis.connect().await {
            Ok(_) => {}
            Err(redis_link::ConnectError::Refused(why)) => return Err(OpenError::Refused(why)),
            Err(e) => return Err(OpenError::Unavailable(e.to_string())),
        }
        sql.run(async { sql.pool.acquire().await.map(drop) }).await.map_err(unavailable)?;
        // Without a deadline: a change of a large table takes its time.
        sql.migrate().await.map_err(|e| {
            OpenError::Refused(format!("the database's schema cannot be brought up to date: {e}"))
        })?;
        let core = Core {
            clock: clock::Clock::new(config.clock_bound_ms),
            config: config.clone(),
            sql,
            redis,
            queue: flush::Queue::default(),
            done: notes::Done::default(),
            active: active::Cache::default(),
        };
        core.clock.measure(&core.sql).await.map_err(unavailable)?;
        core.maintain_partitions().await.map_err(unavailable)?;
        Ok(Cluster { core: Arc::new(core) })
    }
}

impl Store for Cluster {
    async fn put(&self, group: Vec<Put>, saver: u32) -> Vec<Result<Stored, Error>> {
        self.core.put(group, saver).await
    }

    async fn load(&self, batch: Vec<Load>) -> Vec<Result<Loaded, Error>> {
        self.core.load(&batch).await
    }

    async fn check(&self, batch: Vec<Check>) -> Vec<Result<bool, Error>> {
        self.core.check(&batch).await
    }

    async fn ack(&self, batch: Vec<Ack>) -> Vec<Result<bool, Error>> {
        let (messages, broadcasts): (Vec<Ack>, Vec<Ack>) =
            batch.iter().cloned().partition(|a| a.broadcast_seq == 0);
        let (messages, broadcasts) =
            tokio::join!(self.core.ack_messages(&messages), self.core.ack_broadcasts(&broadcasts));
        let (mut messages, mut broadcasts) = (messages.into_iter(), broadcasts.into_iter());
        let results = batch.iter().map(|ack| {
            let result = if ack.broadcast_seq == 0 { messages.next() } else { broadcasts.next() };
            result.unwrap_or_else(|| Err(Error::internal("an acknowledgement was passed over")))
        });
        results.collect()
    }

    async fn message(&self, product: ProductId, id: MessageId) -> Result<Option<MessageRecord>, Error> {
        self.core.message(product, id).await
    }

    async fn recall(&self, product: ProductId, id: MessageId) -> Result<Option<Recalled>, Error> {
        self.core.recall(product, id).await
    }

    async fn inbox(&self, address: &Address) -> Result<Inbox, Error> {
        self.core.inbox(address).await
    }

    async fn account(&self, product: Option<ProductId>) -> Result<Account, Error> {
        self.core.account(product).await
    }

    async fn put_broadcast(&self, broadcast: PutBroadcast) -> Result<StoredBroadcast, Error> {
        self.core.put_broadcast(&broadcast).await
    }

    async fn broadcast(&self, product: ProductId, id: MessageId) -> Result<Option<BroadcastRecord>, Error> {
        self.core.broadcast(product, id).await
    }

    async fn claim_broadcasts(&self, claim: Claim) -> Result<Vec<BroadcastRecord>, Error> {
        self.core.claim_broadcasts(claim).await
    }

    async fn report_broadcast(&self, report: Report) -> Result<(), Error> {
        self.core.report_broadcast(&report).await
    }

    async fn broadcasts(
        &self,
        product: ProductId,
        above: u64,
        limit: u32,
    ) -> Result<Vec<BroadcastRecord>, Error> {
        self.core.list_broadcasts(product, above, limit).await
    }

    async fn put_uplinks(&self, batch: Vec<PutUplink>) -> Vec<Result<bool, Error>> {
        self.core.put_uplinks(&batch).await
    }

    async fn claim_uplinks(&self, claim: Claim) -> Result<Vec<UplinkRecord>, Error> {
        self.core.claim_uplinks(claim).await
    }

    async fn finish_uplinks(&self, batch: Vec<FinishUplink>) -> Result<(), Error> {
        self.core.finish_uplinks(&batch).await
    }

    async fn products(&self, above: u64) -> Result<Vec<Product>, Error> {
        self.core.products(above).await
    }

    async fn product(&self, id: ProductId) -> Result<Option<Product>, Error> {
        self.core.product(id).await
    }

    async fn write_product(&self, product: Product, expected_revision: u64) -> Result<Product, Error> {
        self.core.write_product(product, expected_revision).await
    }

    async fn expire(&self, limit: u32) -> Result<u64, Error> {
        self.core.expire(limit).await
    }

    async fn expire_broadcasts(&self, limit: u32) -> Result<u64, Error> {
        self.core.expire_broadcasts(limit).await
    }

    async fn purge(&self, retention_s: u64, limit: u32) -> Result<u64, Error> {
        self.core.purge(retention_s, limit).await
    }

    async fn run(&self, shutdown: CancellationToken) {
        self.core.run(shutdown).await;
    }
}
