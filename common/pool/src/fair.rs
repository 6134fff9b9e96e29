use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lane::{Refused, Why};
use crate::metrics::Metrics;
use crate::pool::run_caught;

/// How a [`FairPool`] is built.
#[derive(Clone, Debug)]
pub struct FairOptions {
    /// Label in metrics and logs; once per registry.
    pub name: &'static str,
    /// Jobs worked on at once.
    pub workers: usize,
    /// Jobs that may wait; what is being worked on does not count.
    pub capacity: usize,
    /// Of the workers, how many one key may have at once.
    pub workers_per_key: usize,
    /// Of the capacity, how much one key may use.
    pub capacity_per_key: usize,
}

/// A bulkhead: keys take turns, and a key whose jobs hang holds up nobody but itself. A job that finds no space is refused at
/// once. Jobs of one key begin in the order in which they came. When the last handle goes, the workers finish what waits and end.
pub struct FairPool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    turns: Arc<Turns<J>>,
    metrics: Metrics,
    workers: TaskTracker,
    /// Ends workers in the middle of a job.
    abort: CancellationToken,
}

impl<J: Send + 'static> FairPool<J> {
    /// Starts the workers. Fails only if the registry has a pool of this name.
    pub fn start<F, Fut>(
        options: FairOptions,
        registry: &Registry,
        handler: F,
    ) -> Result<FairPool<J>, prometheus::Error>
    where
        F: Fn(J) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let metrics = Metrics::register(options.name, registry)?;
        let (name, count) = (options.name, options.workers.max(1));
        let (turns, handler) = (Arc::new(Turns::new(options)), Arc::new(handler));
        let (workers, abort) = (TaskTracker::new(), CancellationToken::new());
        for _ in 0..count {
            let work = work(name, Arc::clone(&turns), metrics.clone(), Arc::clone(&handler));
            workers.spawn(abort.clone().run_until_cancelled_owned(work));
        }
        workers.close();
        Ok(FairPool { shared: Arc::new(Shared { turns, metrics, workers, abort }) })
    }

    /// Puts a job behind the others of its key.
    pub fn submit(&self, key: u64, job: J) -> Result<(), Refused<J>> {
        let Shared { turns, metrics, .. } = &*self.shared;
        metrics.depth.inc();
        turns.push(key, job).inspect_err(|refused| {
            metrics.depth.dec();
            if refused.why == Why::Full {
                metrics.refused.inc();
            }
        })
    }

    /// Jobs that could still be put in, if no key uses more than its share.
    pub fn space(&self) -> usize {
        let turns = &self.shared.turns;
        turns.options.capacity.saturating_sub(turns.lock().waiting)
    }

    /// Takes no more jobs, lets those begun end within the deadline, and returns those that were not begun.
    pub async fn stop(&self, deadline: Duration) -> Vec<J> {
        let Shared { turns, metrics, workers, abort } = &*self.shared;
        let left = turns.close_and_clear();
        metrics.depth.sub(left.len() as i64);
        metrics.abandoned.inc_by(left.len() as u64);
        if timeout(deadline, workers.wait()).await.is_err() {
            abort.cancel();
        }
        left
    }
}

impl<J> Clone for FairPool<J> {
    fn clone(&self) -> Self {
        FairPool { shared: Arc::clone(&self.shared) }
    }
}

impl<J> Drop for Shared<J> {
    fn drop(&mut self) {
        self.turns.close();
    }
}

async fn work<J, F, Fut>(name: &'static str, turns: Arc<Turns<J>>, metrics: Metrics, handler: Arc<F>)
where
    F: Fn(J) -> Fut,
    Fut: Future<Output = ()>,
{
    while let Some((key, job)) = turns.take().await {
        metrics.depth.dec();
        run_caught(name, 1, &metrics, async { handler(job).await }).await;
        turns.done(key);
    }
}

/// Who may go next. A key stands in `order` once, exactly while it has jobs waiting and fewer running than it may.
struct Turns<J> {
    options: FairOptions,
    state: Mutex<State<J>>,
    /// Told that somebody may go, or that the pool was closed.
    news: Notify,
}

struct State<J> {
    lanes: HashMap<u64, KeyLane<J>>,
    order: VecDeque<u64>,
    waiting: usize,
    closed: bool,
}

struct KeyLane<J> {
    jobs: VecDeque<J>,
    running: usize,
}

impl<J> Turns<J> {
    fn new(options: FairOptions) -> Turns<J> {
        let state = State { lanes: HashMap::new(), order: VecDeque::new(), waiting: 0, closed: false };
        Turns { options, state: Mutex::new(state), news: Notify::new() }
    }

    fn push(&self, key: u64, job: J) -> Result<(), Refused<J>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(Refused { job, why: Why::Stopped });
        }
        let used = state.lanes.get(&key).map_or(0, |lane| lane.jobs.len());
        if state.waiting >= self.options.capacity || used >= self.options.capacity_per_key {
            return Err(Refused { job, why: Why::Full });
        }
        let lane = state.lanes.entry(key).or_insert(KeyLane { jobs: VecDeque::new(), running: 0 });
        if lane.jobs.is_empty() && lane.running < self.share() {
            state.order.push_back(key);
        }
        lane.jobs.push_back(job);
        state.waiting += 1;
        drop(guard);
        self.news.notify_one();
        Ok(())
    }

    /// The next job of the key whose turn it is, as soon as there is one; none once the pool is closed and empty.
    async fn take(&self) -> Option<(u64, J)> {
        loop {
            if let Some(taken) = self.take_now() {
                return taken;
            }
            self.news.notified().await;
        }
    }

    fn take_now(&self) -> Option<Option<(u64, J)>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let taken = state.order.pop_front().and_then(|key| {
            let lane = state.lanes.get_mut(&key)?;
            let job = lane.jobs.pop_front()?;
            lane.running += 1;
            state.waiting -= 1;
            if !lane.jobs.is_empty() && lane.running < self.share() {
                state.order.push_back(key);
            }
            Some((key, job))
        });
        let finished = state.closed && state.waiting == 0;
        if taken.is_none() && !finished {
            return None;
        }
        let others_may_go = !state.order.is_empty() || finished;
        drop(guard);
        if others_may_go {
            // A notification is not counted: whoever leaves something behind wakes the next worker.
            self.news.notify_one();
        }
        Some(taken)
    }

    /// A job of this key has ended.
    fn done(&self, key: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(lane) = state.lanes.get_mut(&key) else { return };
        let had_its_share = lane.running >= self.share();
        lane.running -= 1;
        if had_its_share && !lane.jobs.is_empty() {
            state.order.push_back(key);
            self.news.notify_one();
        }
        if lane.running == 0 && lane.jobs.is_empty() {
            state.lanes.remove(&key);
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    fn close_and_clear(&self) -> Vec<J> {
        let mut state = self.lock();
        state.closed = true;
        state.order.clear();
        state.waiting = 0;
        let left = state.lanes.values_mut().flat_map(|lane| lane.jobs.drain(..)).collect();
        drop(state);
        self.news.notify_one();
        left
    }

    /// Workers that one key may have.
    fn share(&self) -> usize {
        self.options.workers_per_key.max(1)
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn options(
        workers: usize,
        capacity: usize,
        workers_per_key: usize,
        capacity_per_key: usize,
    ) -> FairOptions {
        FairOptions { name: "fair", workers, capacity, workers_per_key, capacity_per_key }
    }

    #[tokio::test]
    async fn a_key_that_hangs_delays_no_other() {
        let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (gate2, done2) = (Arc::clone(&gate), Arc::clone(&done));
        let pool = FairPool::start(options(4, 100, 2, 10), &Registry::new(), move |hangs: bool| {
            let (gate, done) = (Arc::clone(&gate2), Arc::clone(&done2));
            async move {
                if hangs {
                    gate.acquire().await.unwrap().forget();
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        })
        .unwrap();
        for _ in 0..10 {
            pool.submit(1, true).unwrap();
        }
        for _ in 0..10 {
            pool.submit(2, false).unwrap();
        }
        let others = timeout(LONG, async {
            while done.load(Ordering::SeqCst) < 10 {
                tokio::task::yield_now().await;
            }
        });
        others.await.expect("the other key goes on");
        assert_eq!(pool.space(), 100 - 8, "two of the hanging key run, eight wait");
        gate.add_permits(10);
        let all = timeout(LONG, async {
            while done.load(Ordering::SeqCst) < 20 {
                tokio::task::yield_now().await;
            }
        });
        all.await.expect("a key that hung goes on");
        assert!(pool.stop(LONG).await.is_empty());
        assert!(pool.shared.turns.lock().lanes.is_empty(), "idle keys leave nothing behind");
    }

    #[tokio::test]
    async fn space_is_bounded_in_all_and_per_key() {
        let pool = FairPool::start(options(1, 5, 1, 3), &Registry::new(), |_: u32| async {}).unwrap();
        // On this one thread no worker runs before the test waits.
        for job in 0..3 {
            pool.submit(1, job).unwrap();
        }
        assert_eq!(pool.submit(1, 3).unwrap_err().why, Why::Full);
        pool.submit(2, 4).unwrap();
        pool.submit(2, 5).unwrap();
        let refused = pool.submit(3, 6).unwrap_err();
        assert_eq!((refused.job, refused.why, pool.space()), (6, Why::Full, 0));
        assert_eq!(pool.shared.metrics.refused.get(), 2);
        let mut left = pool.stop(LONG).await;
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 4, 5]);
        assert_eq!(pool.submit(1, 7).unwrap_err().why, Why::Stopped);
        assert_eq!(pool.shared.metrics.depth.get(), 0);
    }

    #[tokio::test]
    async fn a_panic_gives_the_keys_place_back() {
        let done = Arc::new(AtomicUsize::new(0));
        let done2 = Arc::clone(&done);
        let pool = FairPool::start(options(2, 10, 1, 10), &Registry::new(), move |job: u32| {
            let done = Arc::clone(&done2);
            async move {
                assert!(job != 0, "provoked");
                done.fetch_add(1, Ordering::SeqCst);
            }
        })
        .unwrap();
        pool.submit(1, 0).unwrap();
        pool.submit(1, 1).unwrap();
        let next = timeout(LONG, async {
            while done.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        });
        next.await.expect("the next job of the key");
        assert_eq!(pool.shared.metrics.panicked.get(), 1);
    }

    #[tokio::test]
    async fn a_stop_gives_up_on_what_hangs() {
        let pool = FairPool::start(options(1, 10, 1, 10), &Registry::new(), |_: u32| std::future::pending())
            .unwrap();
        pool.submit(1, 0).unwrap();
        while pool.space() < 10 {
            tokio::task::yield_now().await;
        }
        assert!(timeout(LONG, pool.stop(Duration::from_millis(10))).await.unwrap().is_empty());
    }

    proptest! {
        /// Whatever comes and ends in whatever order: shares are kept, nothing is lost, and who may go does go.
        #[test]
        fn turns_keep_their_promises(steps in proptest::collection::vec((0u64..4, any::<bool>()), 1..200)) {
            let turns = Turns::new(options(3, 20, 2, 8));
            let (mut running, mut put, mut taken) = (Vec::new(), 0, 0);
            for (key, end_one) in steps {
                if end_one && !running.is_empty() {
                    turns.done(running.remove(key as usize % running.len()));
                } else if turns.push(key, ()).is_ok() {
                    put += 1;
                }
                while running.len() < 3 && let Some(Some((key, ()))) = turns.take_now() {
                    running.push(key);
                    taken += 1;
                    prop_assert!(running.iter().filter(|k| **k == key).count() <= 2);
                }
                let state = turns.lock();
                prop_assert_eq!(state.waiting, put - taken);
                let may_go = |key: &u64| running.iter().filter(|k| *k == key).count() < 2;
                let idle = running.len() < 3 && state.lanes.iter().any(|(k, lane)| !lane.jobs.is_empty() && may_go(k));
                prop_assert!(!idle, "a worker idles while a key may go");
            }
        }
    }
}
