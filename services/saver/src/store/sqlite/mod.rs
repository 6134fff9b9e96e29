//! Storage in one SQLite file, for standalone: one writer that commits in groups, several readers (S10).
//!
//! Everything that changes goes through the [`writer`]: what waits at the same time becomes one transaction, and is answered
//! after its COMMIT with full synchronisation, so `fast` means `synced` here. SQLite runs in this process, so the database's time
//! (S6) is this process's.

mod acks;
mod addresses;
mod broadcasts;
mod inbox;
mod messages;
mod products;
mod puts;
mod sql;
mod sweeps;
#[cfg(test)]
mod tests;
mod uplinks;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use longline_pb::saver::{BroadcastRecord, MessageRecord, Product, UplinkRecord};
use longline_types::{Address, Error, MessageId, ProductId, now_ms};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio_util::sync::CancellationToken;

use crate::store::{
    Account, Ack, Check, Claim, FinishUplink, Inbox, Load, Loaded, Put, PutBroadcast, PutUplink, Recalled,
    Report, Store, Stored, StoredBroadcast, fail_all, schema,
};
use puts::NewMessage;
use sql::unavailable;
use writer::{Job, Writer};

/// Readers at once; each is a thread with a connection.
const READERS: u32 = 4;
/// How long a read waits for a connection, and a write for the file's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Where the file is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file; its folder is made if it is not there. SQLite keeps two more files beside it.
    pub path: PathBuf,
}

impl Default for Config {
    fn default() -> Config {
        Config { path: "longline-data/saver.db".into() }
    }
}

/// The store in one file. Clones share it.
#[derive(Clone)]
pub struct Sqlite {
    readers: SqlitePool,
    writer: Writer,
}

impl Sqlite {
    /// Opens the file, makes it (and its folder) if it is not there, and brings its schema up to date.
    pub async fn open(path: &Path) -> anyhow::Result<Sqlite> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        migrate(options.clone()).await?;
        let writer = Writer::start(options.clone()).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY)
            .test_before_acquire(false)
            .connect_with(options.create_if_missing(false).read_only(true))
            .await?;
        Ok(Sqlite { readers, writer })
    }
}

/// Brings the schema up to date.
async fn migrate(options: SqliteConnectOptions) -> anyhow::Result<()> {
    let connection = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let migrated = schema::SQLITE.run(&connection).await;
    connection.close().await;
    Ok(migrated?)
}

impl Store for Sqlite {
    async fn put(&self, group: Vec<Put>, saver: u32) -> Vec<Result<Stored, Error>> {
        let group = group.into_iter().map(|put| NewMessage { put, saver }).collect();
        self.writer.batch(group, Job::Put).await
    }

    async fn load(&self, batch: Vec<Load>) -> Vec<Result<Loaded, Error>> {
        let count = batch.len();
        match inbox::load(&self.readers, &self.writer, batch).await {
            Ok(pages) => pages,
            Err(e) => fail_all(count, &unavailable(e)),
        }
    }

    async fn check(&self, batch: Vec<Check>) -> Vec<Result<bool, Error>> {
        match inbox::check(&self.readers, &batch, now_ms()).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(e) => fail_all(batch.len(), &unavailable(e)),
        }
    }

    async fn ack(&self, batch: Vec<Ack>) -> Vec<Result<bool, Error>> {
        self.writer.batch(batch, Job::Ack).await
    }

    async fn message(&self, product: ProductId, id: MessageId) -> Result<Option<MessageRecord>, Error> {
        messages::read(&self.readers, product, id).await.map_err(unavailable)
    }

    async fn recall(&self, product: ProductId, id: MessageId) -> Result<Option<Recalled>, Error> {
        self.writer
            .change(move |tx, now| Box::pin(async move { messages::recall(tx, product, id, now).await }))
            .await
    }

    async fn inbox(&self, address: &Address) -> Result<Inbox, Error> {
        inbox::summary(&self.readers, address, now_ms()).await.map_err(unavailable)
    }

    async fn account(&self, product: Option<ProductId>) -> Result<Account, Error> {
        messages::account(&self.readers, product).await.map_err(unavailable)
    }

    async fn put_broadcast(&self, broadcast: PutBroadcast) -> Result<StoredBroadcast, Error> {
        self.writer
            .change(move |tx, now| Box::pin(async move { broadcasts::put(tx, &broadcast, now).await }))
            .await
    }

    async fn broadcast(&self, product: ProductId, id: MessageId) -> Result<Option<BroadcastRecord>, Error> {
        broadcasts::read(&self.readers, product, id).await.map_err(unavailable)
    }

    async fn claim_broadcasts(&self, claim: Claim) -> Result<Vec<BroadcastRecord>, Error> {
        self.writer
            .change(move |tx, now| Box::pin(async move { broadcasts::claim(tx, claim, now).await }))
            .await
    }

    async fn report_broadcast(&self, report: Report) -> Result<(), Error> {
        self.writer
            .change(move |tx, now| Box::pin(async move { broadcasts::report(tx, &report, now).await }))
            .await
    }

    async fn broadcasts(
        &self,
        product: ProductId,
        above: u64,
        limit: u32,
    ) -> Result<Vec<BroadcastRecord>, Error> {
        broadcasts::list(&self.readers, product, above, limit, now_ms()).await.map_err(unavailable)
    }

    async fn put_uplinks(&self, batch: Vec<PutUplink>) -> Vec<Result<bool, Error>> {
        self.writer.batch(batch, Job::Uplink).await
    }

    async fn claim_uplinks(&self, claim: Claim) -> Result<Vec<UplinkRecord>, Error> {
        self.writer.change(move |tx, now| Box::pin(async move { uplinks::claim(tx, claim, now).await })).await
    }

    async fn finish_uplinks(&self, batch: Vec<FinishUplink>) -> Result<(), Error> {
        self.writer
            .change(move |tx, now| Box::pin(async move { uplinks::finish(tx, &batch, now).await }))
            .await
    }

    async fn products(&self, above: u64) -> Result<Vec<Product>, Error> {
        products::list(&self.readers, above).await.map_err(unavailable)
    }

    async fn product(&self, id: ProductId) -> Result<Option<Product>, Error> {
        products::read(&self.readers, id).await.map_err(unavailable)
    }

    async fn write_product(&self, product: Product, expected_revision: u64) -> Result<Product, Error> {
        self.writer
            .change(move |tx, now| {
                Box::pin(async move { products::write(tx, product, expected_revision, now).await })
            })
            .await
    }

    async fn expire(&self, limit: u32) -> Result<u64, Error> {
        self.writer.change(move |tx, now| Box::pin(async move { sweeps::expire(tx, limit, now).await })).await
    }

    async fn expire_broadcasts(&self, limit: u32) -> Result<u64, Error> {
        self.writer
            .change(move |tx, now| Box::pin(async move { sweeps::expire_broadcasts(tx, limit, now).await }))
            .await
    }

    async fn purge(&self, retention_s: u64, limit: u32) -> Result<u64, Error> {
        self.writer
            .change(move |tx, now| {
                let before = now.saturating_sub(retention_s.saturating_mul(1000));
                Box::pin(async move { sweeps::purge(tx, before, limit).await })
            })
            .await
    }

    async fn run(&self, shutdown: CancellationToken) {
        // Answers are given after COMMIT: there is nothing to flush.
        shutdown.cancelled().await;
    }
}
