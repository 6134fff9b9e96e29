use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;

use crate::lane::Refused;
use crate::metrics::Metrics;
use crate::pool::{Pool, PoolOptions};

/// A queue per worker: jobs of one key are done one after the other, in the order in which they came. The capacity is shared
/// out evenly, so a worker's queue can be full while others have space.
pub struct KeyedPool<J> {
    lanes: Arc<[Pool<J>]>,
}

impl<J: Send + 'static> KeyedPool<J> {
    /// Starts the workers. Fails only if the registry has a pool of this name.
    pub fn start<F, Fut>(
        options: PoolOptions,
        registry: &Registry,
        handler: F,
    ) -> Result<KeyedPool<J>, prometheus::Error>
    where
        F: Fn(Vec<J>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let metrics = Metrics::register(options.name, registry)?;
        let handler = Arc::new(handler);
        let lanes = options.workers.max(1);
        let lane_options = PoolOptions { workers: 1, capacity: options.capacity.div_ceil(lanes), ..options };
        let lanes =
            (0..lanes).map(|_| Pool::with_metrics(&lane_options, metrics.clone(), Arc::clone(&handler)));
        Ok(KeyedPool { lanes: lanes.collect() })
    }

    /// Puts a job behind the others of its key. The key is taken as it is, so it should be a hash.
    pub async fn submit(&self, key: u64, job: J) -> Result<(), Refused<J>> {
        self.lanes[(key % self.lanes.len() as u64) as usize].submit(job).await
    }

    /// Jobs that wait now.
    pub fn depth(&self) -> usize {
        self.lanes.iter().map(Pool::depth).sum()
    }

    /// As [`Pool::stop`], for all workers within the one deadline.
    pub async fn stop(&self, deadline: Duration) -> usize {
        let until = Instant::now() + deadline;
        for lane in &*self.lanes {
            lane.close();
        }
        let mut left = 0;
        for lane in &*self.lanes {
            left += lane.stop(until.saturating_duration_since(Instant::now())).await;
        }
        left
    }
}

impl<J> Clone for KeyedPool<J> {
    fn clone(&self) -> Self {
        KeyedPool { lanes: Arc::clone(&self.lanes) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use crate::WhenFull;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn jobs_of_a_key_stay_in_order() {
        let done = Arc::new(Mutex::new(HashMap::<u64, Vec<u32>>::new()));
        let done2 = Arc::clone(&done);
        let options = PoolOptions {
            name: "keyed",
            workers: 4,
            capacity: 40,
            batch: 3,
            when_full: WhenFull::Wait(Duration::from_secs(20)),
        };
        let pool = KeyedPool::start(options, &Registry::new(), move |jobs: Vec<(u64, u32)>| {
            let done = Arc::clone(&done2);
            async move {
                for (key, job) in jobs {
                    tokio::task::yield_now().await;
                    done.lock().unwrap().entry(key).or_default().push(job);
                }
            }
        })
        .unwrap();
        for job in 0..500 {
            let key = u64::from(job % 7);
            pool.submit(key, (key, job)).await.unwrap();
        }
        assert_eq!(pool.stop(Duration::from_secs(20)).await, 0);
        let done = done.lock().unwrap();
        assert_eq!(done.values().map(Vec::len).sum::<usize>(), 500);
        assert!(done.values().all(|jobs| jobs.is_sorted()), "{done:?}");
    }
}
