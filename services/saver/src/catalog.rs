//! Products as this saver last read them, for those who watch. Read again every few hundred milliseconds, since any
//! saver may have changed them; only what changed is read and told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longline_pb::saver::{Product, ProductsEvent};
use longline_types::Error;
use tokio::sync::{Notify, mpsc, watch};
use tonic::Status;

use crate::metrics::{Metrics, Operation};
use crate::store::Store;

/// Products in one event, so that it stays far below what a receiver takes.
const EVENT_PRODUCTS: usize = 4096;

/// All products, and a nudge to read them again. Clones share it.
#[derive(Clone)]
pub(crate) struct Catalog {
    /// By revision; none before the first reading.
    products: watch::Sender<Option<Arc<BTreeMap<u64, Product>>>>,
    changed: Arc<Notify>,
}

impl Catalog {
    pub(crate) fn new() -> Catalog {
        Catalog { products: watch::Sender::new(None), changed: Arc::default() }
    }

    /// This saver changed a product: those who watch here need not wait for the next look.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Whether the products have been read.
    pub(crate) async fn loaded(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self.products.subscribe().wait_for(|products| products.is_some()).await;
    }

    /// Reads what changed, for ever.
    pub(crate) async fn follow<S: Store>(self, store: Arc<S>, metrics: Metrics, every: Duration) {
        loop {
            let timer = metrics.call(Operation::Products);
            let read = self.read(&*store).await;
            drop(timer);
            if let Err(error) = read {
                metrics.failed(Operation::Products, &error);
                tracing::warn!(%error, "products cannot be read; those known stand");
            }
            let _ = tokio::time::timeout(every, self.changed.notified()).await;
        }
    }

    async fn read<S: Store>(&self, store: &S) -> Result<(), Error> {
        let known = self.products.borrow().clone();
        let above = known.as_ref().and_then(|p| p.keys().next_back().copied()).unwrap_or(0);
        let news = store.products(above).await?;
        if known.is_some() && news.is_empty() {
            return Ok(());
        }
        let mut products = known.map(|p| (*p).clone()).unwrap_or_default();
        let ids: std::collections::HashSet<u32> = news.iter().map(|p| p.id).collect();
        products.retain(|_, p| !ids.contains(&p.id));
        products.extend(news.into_iter().map(|p| (p.revision, p)));
        self.products.send_replace(Some(Arc::new(products)));
        Ok(())
    }

    /// Sends all products, then each change, until the reader goes.
    pub(crate) async fn send(self, to: mpsc::Sender<Result<ProductsEvent, Status>>) {
        let mut products = self.products.subscribe();
        let mut sent: Option<u64> = None;
        loop {
            let now = products.borrow_and_update().clone();
            if let Some(now) = now {
                let news: Vec<&Product> = now.range(sent.map_or(0, |r| r + 1)..).map(|(_, p)| p).collect();
                // The first event comes even if there is no product yet; the rest of a long snapshot follows as changes.
                let mut parts: Vec<&[&Product]> = news.chunks(EVENT_PRODUCTS).collect();
                if sent.is_none() && parts.is_empty() {
                    parts.push(&[]);
                }
                for (index, part) in parts.into_iter().enumerate() {
                    let products = part.iter().map(|p| (*p).clone()).collect();
                    let event = ProductsEvent { snapshot: sent.is_none() && index == 0, products };
                    if to.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
                sent = Some(now.keys().next_back().copied().unwrap_or(0).max(sent.unwrap_or(0)));
            }
            if products.changed().await.is_err() {
                return;
            }
        }
    }
}
