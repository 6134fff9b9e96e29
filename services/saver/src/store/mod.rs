//! What the saver asks of its storage: one trait, with SQLite (standalone) and Redis+MySQL (cluster) behind it.
//!
//! Rules that hold for every implementation, and that the conformance suite tries to break:
//!
//! - The stored state counts. A message past its expiry that the sweep has not reached yet is hidden from [`Store::load`],
//!   [`Store::check`] and [`Store::inbox`]; whatever ends it first (ack, recall, overflow, the sweep) gives the reason (S5).
//! - Time is the database's (S6).
//! - Batches: the answers are parallel to the requests, and one bad item fails alone. [`ErrorCode::Unavailable`] says that
//!   nothing was done, [`ErrorCode::DeadlineExceeded`] that the outcome is not known.
//! - Arguments were checked by the service: lengths, required fields, non-zero limits.
//!
//! [`ErrorCode::Unavailable`]: longline_types::ErrorCode::Unavailable
//! [`ErrorCode::DeadlineExceeded`]: longline_types::ErrorCode::DeadlineExceeded

pub mod cluster;
mod records;
mod schema;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;

use std::future::Future;

use longline_pb::saver::{BroadcastRecord, MessageRecord, Product, UplinkRecord};
use longline_types::{Address, Error, MessageId, ProductId};
use tokio_util::sync::CancellationToken;

pub use records::{
    Account, Ack, Check, Claim, FinishUplink, Idempotency, Inbox, Load, Loaded, Put, PutBroadcast, PutUplink,
    Recalled, Report, Stored, StoredBroadcast,
};

/// Storage of messages, broadcasts, uplinks and products.
///
/// Implementations write `async fn`; every method may be called from many tasks at once and is safe to drop at any await
/// (what was begun is then done or not).
pub trait Store: Send + Sync + 'static {
    /// Stores a group of messages, each in the state WAITING, and answers when the durability asked for holds.
    ///
    /// Per item: a key used before (S1) gives the id of the first try and its state now, or `Conflict` if the digest differs; an
    /// id that is stored already is a repeat likewise (`Conflict` if it is another address's). Then the collapse key (S3: the
    /// higher id wins, the loser ends as COLLAPSED, also if the loser is the new one), then the inbox limit (the lowest ids
    /// beyond it end as OVERFLOWED). Collapse keys act in the order given; inbox limits may act after all of the group's. `saver` is the number
    /// of the storing node, for the message's history.
    fn put(&self, group: Vec<Put>, saver: u32) -> impl Future<Output = Vec<Result<Stored, Error>>> + Send;

    /// The lowest waiting, unexpired ids of each address, except those listed, then its broadcasts: active, unexpired, above the
    /// address's floor and not acknowledged, in sequence order (S8). A page ends at `limit` messages, or before the message that
    /// would exceed `max_bytes` of payload; the first always comes. `more` tells whether anything is left.
    ///
    /// An address that is loaded for the first time gets the product's highest sequence as its floor, and that is recorded also
    /// while the product has no broadcasts. `seen_broadcast` raises the floor, at most to the highest sequence.
    fn load(&self, batch: Vec<Load>) -> impl Future<Output = Vec<Result<Loaded, Error>>> + Send;

    /// Whether each address has more waiting, unexpired messages and broadcasts than `in_flight`. Never records a first sight.
    fn check(&self, batch: Vec<Check>) -> impl Future<Output = Vec<Result<bool, Error>>> + Send;

    /// Ends messages as ACKED, or marks broadcasts as acknowledged by the address. True if this call did it; false if it had
    /// ended before, is not known, belongs to another address, or (broadcasts) sequence and id do not fit each other.
    fn ack(&self, batch: Vec<Ack>) -> impl Future<Output = Vec<Result<bool, Error>>> + Send;

    /// One message of the product, waiting or ended; none if unknown or past retention.
    fn message(
        &self,
        product: ProductId,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<MessageRecord>, Error>> + Send;

    /// Ends a message as RECALLED if it waits; none if unknown or past retention.
    fn recall(
        &self,
        product: ProductId,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<Recalled>, Error>> + Send;

    /// What waits for an address; all zero for one that nobody has heard of.
    fn inbox(&self, address: &Address) -> impl Future<Output = Result<Inbox, Error>> + Send;

    /// Messages of the product (none: of all) by state, from stored states, purged ones included (I3).
    fn account(&self, product: Option<ProductId>) -> impl Future<Output = Result<Account, Error>> + Send;

    /// Stores a broadcast and gives it the next sequence of its product, in commit order: once a sequence can be read, no
    /// lower one appears later. Idempotency as for messages, per (product, key).
    fn put_broadcast(
        &self,
        broadcast: PutBroadcast,
    ) -> impl Future<Output = Result<StoredBroadcast, Error>> + Send;

    /// One broadcast, active or expired; none if unknown or past retention.
    fn broadcast(
        &self,
        product: ProductId,
        id: MessageId,
    ) -> impl Future<Output = Result<Option<BroadcastRecord>, Error>> + Send;

    /// Unfinished, unexpired broadcasts that nobody holds, oldest first; from now they are the caller's for the lease. Two callers
    /// never get the same.
    fn claim_broadcasts(
        &self,
        claim: Claim,
    ) -> impl Future<Output = Result<Vec<BroadcastRecord>, Error>> + Send;

    /// Merges progress by (node, incarnation) of the rooms, and renews the claim (or ends it, if finished). `Conflict` if
    /// another holds the broadcast, `NotFound` if there is none. A finished one stays finished.
    fn report_broadcast(&self, report: Report) -> impl Future<Output = Result<(), Error>> + Send;

    /// Active (unexpired) broadcasts of the product with a sequence above `above`, lowest first.
    fn broadcasts(
        &self,
        product: ProductId,
        above: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<BroadcastRecord>, Error>> + Send;

    /// Puts uplinks into the queue, each held by who puts it for its lease. True: it is a repeat (by id, or for data with a
    /// sequence other than 0 by (product, user, device, sequence)), queued or finished, and nothing was stored.
    fn put_uplinks(&self, batch: Vec<PutUplink>) -> impl Future<Output = Vec<Result<bool, Error>>> + Send;

    /// Uplinks due now that nobody holds, longest due first; from now they are the caller's for the lease. Two callers never get the
    /// same.
    fn claim_uplinks(&self, claim: Claim) -> impl Future<Output = Result<Vec<UplinkRecord>, Error>> + Send;

    /// Ends those taken (payload gone, the sequence kept for repeats until retention), and puts off the others: one attempt
    /// more, held by nobody, due at the time given. Unknown and finished ones are passed over.
    fn finish_uplinks(&self, batch: Vec<FinishUplink>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Products whose revision is above this one, by rising revision; 0: all. Revisions come from one counter and become
    /// readable in order, so that the highest one seen is enough to ask for later changes.
    fn products(&self, above: u64) -> impl Future<Output = Result<Vec<Product>, Error>> + Send;

    /// One product.
    fn product(&self, id: ProductId) -> impl Future<Output = Result<Option<Product>, Error>> + Send;

    /// Creates (`expected_revision` 0; id 0: the store takes the next free one) or changes a product, and returns it with its new
    /// revision and times. `Conflict` if the stored revision is another, the id to be created exists, or the name is taken;
    /// `NotFound` if the id to be changed does not exist.
    fn write_product(
        &self,
        product: Product,
        expected_revision: u64,
    ) -> impl Future<Output = Result<Product, Error>> + Send;

    /// Ends up to `limit` waiting messages whose time is over as EXPIRED; returns how many. Call again while it returns `limit`.
    fn expire(&self, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Ends up to `limit` broadcasts whose time is over (inactive, payload gone); returns how many.
    fn expire_broadcasts(&self, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Removes up to `limit` messages, broadcasts and uplinks each that ended longer than `retention_s` ago, together with their
    /// idempotency records, and adds the messages to the account's totals; returns how many. Call again while it returns at least `limit`.
    fn purge(&self, retention_s: u64, limit: u32) -> impl Future<Output = Result<u64, Error>> + Send;

    /// The store's own background work (flushing, refilling) until `shutdown`, then an orderly end: when it returns, everything
    /// answered is on disk. The service calls it once; the other methods work before and without it.
    fn run(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send;
}

/// The same failure for every item of a batch.
pub fn fail_all<T>(count: usize, error: &Error) -> Vec<Result<T, Error>> {
    (0..count).map(|_| Err(error.clone())).collect()
}
