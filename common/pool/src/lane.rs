use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError};

/// A bounded queue with several takers, which take batches.
pub(crate) struct Lane<J> {
    state: Mutex<State<J>>,
    /// One permit for each place that is free.
    space: Semaphore,
    /// Told that there are jobs, or that the lane was closed.
    news: Notify,
}

struct State<J> {
    jobs: VecDeque<J>,
    closed: bool,
}

/// A job that was not taken, and why. The job is the caller's again.
pub struct Refused<J> {
    /// As it was submitted.
    pub job: J,
    /// The reason.
    pub why: Why,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The queue is full, and stayed so for as long as the pool waits.
    #[error("the queue is full")]
    Full,
    /// The pool is being stopped.
    #[error("the pool is being stopped")]
    Stopped,
}

impl<J> fmt::Debug for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<J> std::error::Error for Refused<J> {}

impl<J> Lane<J> {
    pub(crate) fn new(capacity: usize) -> Lane<J> {
        Lane {
            state: Mutex::new(State { jobs: VecDeque::new(), closed: false }),
            space: Semaphore::new(capacity),
            news: Notify::new(),
        }
    }

    /// A place in the queue, if one is free now.
    pub(crate) fn try_reserve(&self) -> Result<SemaphorePermit<'_>, Why> {
        self.space.try_acquire().map_err(|e| match e {
            TryAcquireError::NoPermits => Why::Full,
            TryAcquireError::Closed => Why::Stopped,
        })
    }

    /// A place as soon as one is free; who waits is served in order.
    pub(crate) async fn reserve(&self) -> Result<SemaphorePermit<'_>, Why> {
        self.space.acquire().await.map_err(|_closed| Why::Stopped)
    }

    /// Puts a job into its place.
    pub(crate) fn fill(&self, place: SemaphorePermit<'_>, job: J) -> Result<(), Refused<J>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused { job, why: Why::Stopped });
        }
        state.jobs.push_back(job);
        drop(state);
        // Given back when the job is taken.
        place.forget();
        self.news.notify_one();
        Ok(())
    }

    /// The next jobs, at most `limit`, as soon as there is one; none once the lane is closed and empty.
    pub(crate) async fn take(&self, limit: usize) -> Vec<J> {
        loop {
            if let Some(batch) = self.take_now(limit) {
                return batch;
            }
            self.news.notified().await;
        }
    }

    fn take_now(&self, limit: usize) -> Option<Vec<J>> {
        let mut state = self.lock();
        if state.jobs.is_empty() && !state.closed {
            return None;
        }
        let count = state.jobs.len().min(limit.max(1));
        let batch: Vec<J> = state.jobs.drain(..count).collect();
        let others_have_work = !state.jobs.is_empty() || state.closed;
        drop(state);
        self.space.add_permits(batch.len());
        if others_have_work {
            // A notification is not counted: whoever leaves something behind wakes the next taker.
            self.news.notify_one();
        }
        Some(batch)
    }

    /// Takes no more jobs; those inside can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.space.close();
        self.news.notify_one();
    }

    /// Jobs that wait.
    pub(crate) fn depth(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Throws away what waits and says how much it was.
    pub(crate) fn clear(&self) -> usize {
        std::mem::take(&mut self.lock().jobs).len()
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn push(lane: &Lane<u8>, job: u8) -> Result<(), Why> {
        lane.fill(lane.try_reserve()?, job).map_err(|refused| refused.why)
    }

    #[tokio::test]
    async fn it_never_holds_more_than_its_capacity() {
        let lane = Lane::new(2);
        push(&lane, 1).unwrap();
        push(&lane, 2).unwrap();
        assert_eq!(push(&lane, 3), Err(Why::Full));
        assert_eq!(lane.take(1).await, [1]);
        push(&lane, 3).unwrap();
        assert_eq!(push(&lane, 4), Err(Why::Full));
        assert_eq!(lane.take(10).await, [2, 3]);
    }

    #[tokio::test]
    async fn every_taker_learns_that_it_was_closed() {
        let lane = Arc::new(Lane::new(2));
        let take = |lane: Arc<Lane<u8>>| async move { lane.take(1).await };
        let takers: Vec<_> = (0..4).map(|_| tokio::spawn(take(Arc::clone(&lane)))).collect();
        push(&lane, 9).unwrap();
        lane.close();
        let mut taken = Vec::new();
        for taker in takers {
            taken.extend(timeout(Duration::from_secs(5), taker).await.unwrap().unwrap());
        }
        assert_eq!(taken, [9]);
        assert_eq!(push(&lane, 1), Err(Why::Stopped));
        assert_eq!(lane.reserve().await.err(), Some(Why::Stopped));
    }
}
