use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longline_types::{Error, ErrorCode, ProductId};
use tokio::sync::OnceCell;

use crate::Product;

/// What a saver said of a product that the table does not have.
pub(crate) type Answer = Result<Option<Arc<Product>>, Error>;

/// Reads a second, over all misses.
const READS_PER_SECOND: f64 = 5.0;
/// Reads at once after a quiet time.
const BURST: f64 = 10.0;
/// How long an answer stands for everybody who asks for the same product.
const ANSWER_STANDS: Duration = Duration::from_secs(1);

/// The recent misses: one read per product serves all who ask, and no more reads are begun than the store should bear. Holds at
/// most as many entries as reads may begin in [`ANSWER_STANDS`].
pub(crate) struct Misses(Mutex<State>);

struct State {
    recent: HashMap<ProductId, (Instant, Arc<OnceCell<Answer>>)>,
    reads: f64,
    counted_at: Instant,
}

impl Misses {
    pub(crate) fn new(now: Instant) -> Misses {
        let state = State { recent: HashMap::new(), reads: BURST, counted_at: now };
        Misses(Mutex::new(state))
    }

    /// Where the answer for this product is or will be; who finds it empty reads.
    pub(crate) fn cell(&self, id: ProductId, now: Instant) -> Result<Arc<OnceCell<Answer>>, Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.recent.retain(|_, (since, _)| now.duration_since(*since) < ANSWER_STANDS);
        if let Some((_, cell)) = state.recent.get(&id) {
            return Ok(Arc::clone(cell));
        }
        state.take_read(now)?;
        let cell = Arc::new(OnceCell::new());
        state.recent.insert(id, (now, Arc::clone(&cell)));
        Ok(cell)
    }
}

impl State {
    fn take_read(&mut self, now: Instant) -> Result<(), Error> {
        let gained = now.duration_since(self.counted_at).as_secs_f64() * READS_PER_SECOND;
        self.reads = (self.reads + gained).min(BURST);
        self.counted_at = now;
        if self.reads < 1.0 {
            let why = "too many unknown products are being asked for; try again in a second";
            return Err(Error::new(ErrorCode::ResourceExhausted, why));
        }
        self.reads -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(misses: &Misses, ids: std::ops::Range<u32>, now: Instant) -> usize {
        ids.filter(|id| misses.cell(ProductId(*id), now).is_ok()).count()
    }

    #[test]
    fn the_reads_over_all_misses_are_limited() {
        let start = Instant::now();
        let misses = Misses::new(start);
        assert_eq!(begun(&misses, 1..1000, start), 10);
        assert_eq!(begun(&misses, 1001..2000, start + Duration::from_secs(1)), 5);
        assert_eq!(misses.0.lock().unwrap().recent.len(), 5, "those of a second ago are forgotten");
        let later = start + Duration::from_secs(3600);
        assert_eq!(begun(&misses, 2001..3000, later), 10, "a quiet time saves up one burst");
    }

    #[test]
    fn who_asks_for_the_same_product_shares_one_answer_for_a_while() {
        let start = Instant::now();
        let misses = Misses::new(start);
        let first = misses.cell(ProductId(1), start).unwrap();
        let soon = start + ANSWER_STANDS - Duration::from_millis(1);
        assert!(Arc::ptr_eq(&first, &misses.cell(ProductId(1), soon).unwrap()));
        assert!(!Arc::ptr_eq(&first, &misses.cell(ProductId(1), start + ANSWER_STANDS).unwrap()));
    }
}
