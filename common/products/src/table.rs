use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{self, ReadProductRequest};
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::{Error, ErrorCode, ProductId, Role};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Product;
use crate::misses::{Answer, Misses};
use crate::watch::follow;

/// How long [`ProductTable::find`] waits, for the first snapshot or for a read.
const FIND_DEADLINE: Duration = Duration::from_secs(2);

/// All products, kept fresh from a saver. Clones share the table; it is followed until `shutdown` or the last clone's end.
///
/// The higher revision of a product wins, so a saver that lags behind takes nothing back. A table once loaded stays readable
/// while no saver answers.
#[derive(Clone)]
pub struct ProductTable {
    peers: Peers,
    products: Arc<Products>,
    misses: Arc<Misses>,
    _follower: Arc<DropGuard>,
}

impl ProductTable {
    /// Starts to follow. Returns at once, with an empty table.
    pub fn start(peers: Peers, shutdown: CancellationToken) -> ProductTable {
        let products = Arc::new(Products::new());
        let stop = shutdown.child_token();
        let following = follow(peers.clone(), Arc::clone(&products));
        tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        let follower = Arc::new(stop.drop_guard());
        ProductTable { peers, products, misses: Arc::new(Misses::new(Instant::now())), _follower: follower }
    }

    /// The product, from memory.
    pub fn get(&self, id: ProductId) -> Option<Arc<Product>> {
        self.products.map.load().get(&id).cloned()
    }

    /// The product, from memory or else from a saver; none if it does not exist. Fails with `ResourceExhausted` if too many
    /// misses are being looked up, with other codes if no saver answers within 2 s: then nothing is known.
    pub async fn find(&self, id: ProductId) -> Result<Option<Arc<Product>>, Error> {
        if let Some(product) = self.get(id) {
            return Ok(Some(product));
        }
        if self.wait_for_snapshot().await
            && let Some(product) = self.get(id)
        {
            return Ok(Some(product));
        }
        let cell = self.misses.cell(id, Instant::now())?;
        cell.get_or_init(|| self.read(id)).await.clone()
    }

    /// Every product, in no order.
    pub fn all(&self) -> Vec<Arc<Product>> {
        self.products.map.load().values().cloned().collect()
    }

    /// Whether the first snapshot has come; it stays so.
    pub fn loaded(&self) -> watch::Receiver<bool> {
        self.products.loaded.subscribe()
    }

    /// False if it did not come in time.
    async fn wait_for_snapshot(&self) -> bool {
        let mut loaded = self.loaded();
        tokio::time::timeout(FIND_DEADLINE, loaded.wait_for(|loaded| *loaded)).await.is_ok_and(|r| r.is_ok())
    }

    async fn read(&self, id: ProductId) -> Answer {
        let request = ReadProductRequest { id: id.0 };
        let key = u64::from(id.0);
        let read = self.peers.unary(Role::Saver, key, FIND_DEADLINE, |channel| async move {
            SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE).read_product(request).await
        });
        match read.await {
            Ok(record) => {
                self.products.merge(vec![record]);
                Ok(self.get(id))
            }
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the table holds; shared with the task that follows.
pub(crate) struct Products {
    map: ArcSwap<HashMap<ProductId, Arc<Product>>>,
    loaded: watch::Sender<bool>,
}

impl Products {
    fn new() -> Products {
        Products { map: ArcSwap::default(), loaded: watch::Sender::new(false) }
    }

    /// Takes in records, each if its revision is higher than the one held.
    pub(crate) fn merge(&self, records: Vec<saver::Product>) {
        let products: Vec<_> = records.into_iter().map(|r| Arc::new(Product::from_record(r))).collect();
        self.map.rcu(|map| {
            let mut map = HashMap::clone(map);
            for product in &products {
                let held = map.entry(product.id).or_insert_with(|| Arc::clone(product));
                if product.revision > held.revision {
                    *held = Arc::clone(product);
                }
            }
            map
        });
    }

    /// The first snapshot is in.
    pub(crate) fn set_loaded(&self) {
        self.loaded.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u32, revision: u64, name: &str) -> saver::Product {
        saver::Product { id, revision, name: name.into(), ..Default::default() }
    }

    #[test]
    fn the_higher_revision_wins_whatever_comes_last() {
        let products = Products::new();
        products.merge(vec![record(1, 3, "new"), record(2, 1, "other")]);
        products.merge(vec![record(1, 2, "old"), record(2, 2, "newer")]);
        let map = products.map.load();
        assert_eq!(map[&ProductId(1)].name, "new");
        assert_eq!(map[&ProductId(2)].name, "newer");
    }
}
