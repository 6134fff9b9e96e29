use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use prometheus::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lane::{Lane, Refused, Why};
use crate::metrics::Metrics;

/// How a pool is built.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Label in metrics and logs; once per registry.
    pub name: &'static str,
    /// Batches worked on at once.
    pub workers: usize,
    /// Jobs that may wait; what is being worked on does not count.
    pub capacity: usize,
    /// Jobs that a worker takes at once, at most.
    pub batch: usize,
    /// What happens to a job that finds no space.
    pub when_full: WhenFull,
}

/// What happens to a job that finds no space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// It is refused at once.
    Refuse,
    /// It waits this long for space, then it is refused.
    Wait(Duration),
}

/// A fixed number of workers over one bounded queue; jobs are taken in order, and done in any. Clones are handles of the same
/// pool; when the last one goes, the workers finish what waits and end.
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    lane: Arc<Lane<J>>,
    metrics: Metrics,
    when_full: WhenFull,
    workers: TaskTracker,
    /// Ends workers in the middle of a batch.
    abort: CancellationToken,
}

impl<J: Send + 'static> Pool<J> {
    /// Starts the workers. Fails only if the registry has a pool of this name.
    pub fn start<F, Fut>(
        options: PoolOptions,
        registry: &Registry,
        handler: F,
    ) -> Result<Pool<J>, prometheus::Error>
    where
        F: Fn(Vec<J>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let metrics = Metrics::register(options.name, registry)?;
        Ok(Pool::with_metrics(&options, metrics, Arc::new(handler)))
    }

    pub(crate) fn with_metrics<F, Fut>(options: &PoolOptions, metrics: Metrics, handler: Arc<F>) -> Pool<J>
    where
        F: Fn(Vec<J>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let lane = Arc::new(Lane::new(options.capacity.max(1)));
        let (workers, abort) = (TaskTracker::new(), CancellationToken::new());
        for _ in 0..options.workers.max(1) {
            let work =
                work(options.name, options.batch, Arc::clone(&lane), metrics.clone(), Arc::clone(&handler));
            workers.spawn(abort.clone().run_until_cancelled_owned(work));
        }
        workers.close();
        let shared = Shared { lane, metrics, when_full: options.when_full, workers, abort };
        Pool { shared: Arc::new(shared) }
    }

    /// Puts a job into the queue. If it is full, what [`PoolOptions::when_full`] says happens.
    pub async fn submit(&self, job: J) -> Result<(), Refused<J>> {
        let Shared { lane, metrics, when_full, .. } = &*self.shared;
        let place = match (lane.try_reserve(), *when_full) {
            (Err(Why::Full), WhenFull::Wait(at_most)) => {
                timeout(at_most, lane.reserve()).await.unwrap_or(Err(Why::Full))
            }
            (place, _) => place,
        };
        match place {
            Ok(place) => {
                metrics.depth.inc();
                lane.fill(place, job).inspect_err(|_| metrics.depth.dec())
            }
            Err(why) => {
                if why == Why::Full {
                    metrics.refused.inc();
                }
                Err(Refused { job, why })
            }
        }
    }

    /// Jobs that wait now.
    pub fn depth(&self) -> usize {
        self.shared.lane.depth()
    }

    /// Takes no more jobs; those inside will be done.
    pub(crate) fn close(&self) {
        self.shared.lane.close();
    }

    /// Takes no more jobs, waits until those inside are done, and gives up on the rest after the deadline. Says how many jobs
    /// were never begun.
    pub async fn stop(&self, deadline: Duration) -> usize {
        let Shared { lane, metrics, workers, abort, .. } = &*self.shared;
        lane.close();
        if timeout(deadline, workers.wait()).await.is_err() {
            abort.cancel();
        }
        let left = lane.clear();
        metrics.depth.sub(left as i64);
        metrics.abandoned.inc_by(left as u64);
        left
    }
}

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Self {
        Pool { shared: Arc::clone(&self.shared) }
    }
}

impl<J> Drop for Shared<J> {
    fn drop(&mut self) {
        self.lane.close();
    }
}

/// One worker: takes batches until the lane is closed and empty.
async fn work<J, F, Fut>(
    name: &'static str,
    batch: usize,
    lane: Arc<Lane<J>>,
    metrics: Metrics,
    handler: Arc<F>,
) where
    F: Fn(Vec<J>) -> Fut,
    Fut: Future<Output = ()>,
{
    loop {
        let jobs = lane.take(batch).await;
        if jobs.is_empty() {
            return;
        }
        metrics.depth.sub(jobs.len() as i64);
        run_caught(name, jobs.len(), &metrics, async { handler(jobs).await }).await;
    }
}

/// Runs the work on some jobs; a panic in it is counted and logged, and goes no further.
pub(crate) async fn run_caught(
    name: &'static str,
    jobs: usize,
    metrics: &Metrics,
    work: impl Future<Output = ()>,
) {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(()) => metrics.done.inc_by(jobs as u64),
        Err(_) => {
            metrics.panicked.inc();
            tracing::error!(pool = name, jobs, "a job panicked; its batch is lost, the worker goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn options(workers: usize, capacity: usize, batch: usize, when_full: WhenFull) -> PoolOptions {
        PoolOptions { name: "test", workers, capacity, batch, when_full }
    }

    type Done = Arc<Mutex<Vec<Vec<u32>>>>;

    /// A pool whose workers do one job per permit of the gate, and what was done.
    fn gated(options: PoolOptions) -> (Pool<u32>, Arc<Semaphore>, Done) {
        let (gate, done) = (Arc::new(Semaphore::new(0)), Done::default());
        let (gate2, done2) = (Arc::clone(&gate), Arc::clone(&done));
        let pool = Pool::start(options, &Registry::new(), move |jobs: Vec<u32>| {
            let (gate, done) = (Arc::clone(&gate2), Arc::clone(&done2));
            async move {
                gate.acquire().await.unwrap().forget();
                done.lock().unwrap().push(jobs);
            }
        });
        (pool.unwrap(), gate, done)
    }

    async fn until(what: impl Fn() -> bool) {
        let waited = timeout(LONG, async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        waited.await.expect("within the deadline");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_counts() {
        let (pool, gate, done) = gated(options(1, 2, 1, WhenFull::Refuse));
        pool.submit(0).await.unwrap();
        until(|| pool.depth() == 0).await;
        pool.submit(1).await.unwrap();
        pool.submit(2).await.unwrap();
        let refused = pool.submit(3).await.unwrap_err();
        assert_eq!((refused.job, refused.why), (3, Why::Full));
        assert_eq!(pool.shared.metrics.refused.get(), 1);
        assert_eq!(pool.shared.metrics.depth.get(), 2);
        gate.add_permits(3);
        assert_eq!(pool.stop(LONG).await, 0);
        assert_eq!(*done.lock().unwrap(), [[0], [1], [2]]);
        assert_eq!(pool.shared.metrics.depth.get(), 0);
    }

    #[tokio::test]
    async fn waiting_for_space_ends_with_space_or_in_time() {
        let (pool, _gate, _) = gated(options(1, 1, 1, WhenFull::Wait(Duration::from_millis(20))));
        pool.submit(0).await.unwrap();
        until(|| pool.depth() == 0).await;
        pool.submit(1).await.unwrap();
        assert_eq!(pool.submit(2).await.unwrap_err().why, Why::Full);

        let (pool, gate, _) = gated(options(1, 1, 1, WhenFull::Wait(LONG)));
        pool.submit(0).await.unwrap();
        until(|| pool.depth() == 0).await;
        pool.submit(1).await.unwrap();
        gate.add_permits(1);
        timeout(LONG, pool.submit(2)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_waits_is_taken_in_batches() {
        let (pool, gate, done) = gated(options(1, 10, 3, WhenFull::Refuse));
        pool.submit(0).await.unwrap();
        until(|| pool.depth() == 0).await;
        for job in 1..=5 {
            pool.submit(job).await.unwrap();
        }
        gate.add_permits(3);
        assert_eq!(pool.stop(LONG).await, 0);
        assert_eq!(*done.lock().unwrap(), [vec![0], vec![1, 2, 3], vec![4, 5]]);
    }

    #[tokio::test]
    async fn all_workers_work_at_once_and_no_more() {
        let (pool, gate, done) = gated(options(3, 100, 1, WhenFull::Refuse));
        for job in 0..10 {
            pool.submit(job).await.unwrap();
        }
        until(|| pool.depth() == 7).await;
        gate.add_permits(10);
        assert_eq!(pool.stop(LONG).await, 0);
        assert_eq!(done.lock().unwrap().len(), 10);
    }

    #[tokio::test]
    async fn a_panic_costs_its_batch_and_is_counted() {
        let done = Arc::new(AtomicUsize::new(0));
        let done2 = Arc::clone(&done);
        let pool =
            Pool::start(options(1, 10, 1, WhenFull::Refuse), &Registry::new(), move |jobs: Vec<u32>| {
                // One panic before the future is made, one inside.
                assert!(jobs != [1], "provoked");
                let done = Arc::clone(&done2);
                async move {
                    assert!(jobs != [2], "provoked");
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
            .unwrap();
        for job in 0..4 {
            pool.submit(job).await.unwrap();
        }
        assert_eq!(pool.stop(LONG).await, 0);
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(pool.shared.metrics.panicked.get(), 2);
    }

    #[tokio::test]
    async fn a_stop_gives_up_after_its_deadline_and_says_what_was_left() {
        let (pool, _gate, done) = gated(options(1, 10, 1, WhenFull::Refuse));
        for job in 0..4 {
            pool.submit(job).await.unwrap();
        }
        until(|| pool.depth() == 3).await;
        assert_eq!(timeout(LONG, pool.stop(Duration::from_millis(10))).await.unwrap(), 3);
        assert_eq!(pool.submit(9).await.unwrap_err().why, Why::Stopped);
        assert!(done.lock().unwrap().is_empty());
        assert_eq!(pool.shared.metrics.abandoned.get(), 3);
    }

    #[tokio::test]
    async fn a_name_is_taken_once_per_registry() {
        let registry = Registry::new();
        let start = || Pool::start(options(1, 1, 1, WhenFull::Refuse), &registry, |_: Vec<u32>| async {});
        let _pool = start().unwrap();
        assert!(start().is_err());
    }
}
