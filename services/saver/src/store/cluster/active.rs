//! The active broadcasts of each product, kept in memory for loads and checks (S8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longline_pb::types::Message;
use longline_types::{Error, ProductId};
use sqlx::Row as _;

use super::Core;
use super::broadcasts::read_message;

/// How long a list is used without asking the database whether there is something new.
const FRESH: Duration = Duration::from_secs(1);

/// A product's broadcasts, lowest sequence first.
#[derive(Clone, Default)]
pub(super) struct Active {
    /// Highest sequence given so far.
    pub(super) highest: u64,
    /// With payloads; expired ones may be among them.
    pub(super) messages: Arc<Vec<Message>>,
    read_at: Option<Instant>,
}

impl Active {
    /// Everything up to this sequence has ended.
    pub(super) fn passed(&self) -> u64 {
        self.messages.first().map_or(0, |m| m.broadcast_seq.saturating_sub(1))
    }
}

/// What has been read so far.
#[derive(Default)]
pub(super) struct Cache {
    products: Mutex<HashMap<ProductId, Active>>,
}

impl Cache {
    /// The next look at the product asks the database.
    pub(super) fn forget(&self, product: ProductId) {
        if let Some(active) = self.lock().get_mut(&product) {
            active.read_at = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ProductId, Active>> {
        self.products.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Core {
    /// The product's broadcasts, up to date if somebody knows of this sequence, else at most a second old. While the database is
    /// away, what is known.
    pub(super) async fn active(&self, product: ProductId, known: u64) -> Result<Active, Error> {
        let cached = self.active.lock().get(&product).cloned().unwrap_or_default();
        let fresh = cached.read_at.is_some_and(|t| t.elapsed() < FRESH);
        if fresh && known <= cached.highest {
            return Ok(cached);
        }
        match self.sql.run(self.read_active(product, &cached)).await {
            Ok(active) => {
                self.active.lock().insert(product, active.clone());
                Ok(active)
            }
            Err(_) if cached.read_at.is_some() && known <= cached.highest => Ok(cached),
            Err(e) => Err(e),
        }
    }

    async fn read_active(&self, product: ProductId, cached: &Active) -> Result<Active, sqlx::Error> {
        let now = self.clock.now();
        let read_at = Some(Instant::now());
        let mut connection = self.sql.pool.acquire().await?;
        // The highest first: what is committed in between is read by the second, and found there again the next time.
        let select = sqlx::query("SELECT seq FROM broadcast_sequences WHERE product = ?").bind(product.0);
        let highest = select.fetch_optional(&mut *connection).await?.map_or(Ok(0), |r| r.try_get(0))?;
        let mut messages: Vec<Message> =
            cached.messages.iter().filter(|m| m.expires_at_ms > now).cloned().collect();
        let above = messages.last().map_or(0, |m| m.broadcast_seq).max(if cached.read_at.is_some() {
            cached.highest
        } else {
            0
        });
        if highest > above {
            let text = "SELECT seq, id, class, sent_at_ms, expires_at_ms, payload FROM broadcasts \
                        WHERE product = ? AND seq > ? AND ended_at_ms = 0 AND expires_at_ms > ? ORDER BY seq";
            let select = sqlx::query(text).bind(product.0).bind(above).bind(now);
            for row in select.fetch_all(&mut *connection).await? {
                messages.push(read_message(&row)?);
            }
        }
        Ok(Active { highest, messages: Arc::new(messages), read_at })
    }
}
