//! Whether a message finds space among the unwritten bytes of its session, and what follows if it does not: as its product wants.

use std::collections::HashMap;

use longline_types::{CloseReason, ProductId, SlowReader};

use super::bind::{Bind, Inbox};
use super::ending::Ending;
use super::turn::Turn;
use crate::link::{Delivered, Queueing};
use crate::metrics::Unqueued;

/// What the products of a shard want, where it is not the default; so there are no more than products.
#[derive(Default)]
pub(crate) struct Queueings(HashMap<ProductId, Queueing>);

impl Queueings {
    /// What the product wants from now on, for all its sessions.
    pub(super) fn note(&mut self, product: ProductId, queueing: Queueing) {
        if queueing == Queueing::default() {
            self.0.remove(&product);
        } else {
            self.0.insert(product, queueing);
        }
    }

    fn of(&self, product: ProductId) -> Queueing {
        self.0.get(&product).copied().unwrap_or_default()
    }
}

/// What has too many unwritten bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// The session itself.
    Session,
    /// All sessions of the shard together.
    Shard,
}

impl Turn<'_> {
    /// Whether a push of this many bytes may join what the session has not written yet (D5). One that is larger than what is
    /// left may still go while there is next to nothing before it, or it might never go.
    pub(super) fn space_for(&self, bytes: usize, product: ProductId) -> Result<(), Full> {
        let fits = |unwritten: usize, most: usize| unwritten + bytes <= most || unwritten <= most / 8;
        if !fits(self.output.len(), self.most_queued(product)) {
            return Err(Full::Session);
        }
        let in_shard = fits(self.env.output_bytes, self.env.config.shard_output_bytes as usize);
        if in_shard { Ok(()) } else { Err(Full::Shard) }
    }

    /// Bytes that a load of the product may bring. None while there is not space for what it is likely to bring.
    pub(super) fn space_for_load(&self, product: ProductId) -> Option<usize> {
        let (unwritten, most) = (self.output.len(), self.most_queued(product));
        let in_shard = self.env.output_bytes <= self.env.config.shard_output_bytes as usize / 2;
        (in_shard && unwritten <= most / 2).then(|| most - unwritten)
    }

    /// Unwritten bytes up to which the session queues messages of the product.
    fn most_queued(&self, product: ProductId) -> usize {
        let room = self.env.config.output_bytes;
        let wanted = self.env.queueings.of(product).max_queued_bytes;
        (if wanted > 0 { wanted.min(room) } else { room }) as usize
    }
}

/// There was no space for a message that would have been pushed otherwise; `instead` is what becomes of it. An error if its product
/// wants the session to end by it.
pub(super) fn not_queued(bind: &Bind, full: Full, instead: Delivered, t: &Turn<'_>) -> Result<(), Ending> {
    let ends = full == Full::Session && lags(bind, t);
    let outcome = match instead {
        _ if ends => Unqueued::SessionClosed,
        Delivered::Dropped if full == Full::Session => Unqueued::SessionDropped,
        Delivered::Dropped => Unqueued::ShardDropped,
        _ if full == Full::Session => Unqueued::SessionDeferred,
        _ => Unqueued::ShardDeferred,
    };
    t.env.counters.not_queued(outcome);
    if ends {
        let detail = "the device does not read as fast as messages come";
        return Err(Ending::new(CloseReason::SlowReader, detail));
    }
    Ok(())
}

/// Whether the product wants a session like this to end. What came in this very turn has not been offered to the socket, and is no
/// sign of a slow device. Nor is one that is still given its inbox: it would begin with the same again.
fn lags(bind: &Bind, t: &Turn<'_>) -> bool {
    let policy = t.env.queueings.of(bind.address.product).slow_reader;
    policy == SlowReader::Close && bind.inbox == Inbox::Clean && t.output.is_held_up()
}
