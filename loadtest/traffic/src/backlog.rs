//! Messages that are due and wait for a free connection: one queue per center, bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::job::Job;
use crate::progress::Progress;

/// The queue of one center. Any of its connections takes the next job.
#[derive(Debug)]
pub(crate) struct Backlog {
    queue: Mutex<Queue>,
    /// As many permits as jobs wait; closed with the queue.
    jobs: Semaphore,
    /// Set once there will be nothing to take any more.
    finished: CancellationToken,
    /// Most messages.
    limit: usize,
    progress: Arc<Progress>,
}

#[derive(Default, Debug)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Messages of these.
    messages: usize,
    closed: bool,
}

impl Backlog {
    /// An empty queue for so many messages; an empty one takes any request.
    pub(crate) fn new(limit: usize, progress: Arc<Progress>) -> Backlog {
        let finished = CancellationToken::new();
        Backlog { queue: Mutex::default(), jobs: Semaphore::new(0), finished, limit, progress }
    }

    /// Whether a request with so many messages may be pushed.
    pub(crate) fn has_room(&self, messages: usize) -> bool {
        let queue = self.queue();
        queue.messages == 0 || queue.messages + messages <= self.limit
    }

    /// Adds a job. After [`close`](Backlog::close) it is given back.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        let messages = job.open.len();
        {
            let mut queue = self.queue();
            if queue.closed {
                return Err(job);
            }
            queue.messages += messages;
            queue.jobs.push_back(job);
        }
        self.progress.queued(messages);
        self.jobs.add_permits(1);
        Ok(())
    }

    /// The next job, once there is one; none if there will be none. Giving up the wait loses nothing.
    pub(crate) async fn next(&self) -> Option<Job> {
        if let Ok(permit) = self.jobs.acquire().await {
            permit.forget();
        }
        // Closed: what is left is still to be taken.
        self.pop()
    }

    /// No more is pushed; what waits may still be taken.
    pub(crate) fn close(&self) {
        let empty = {
            let mut queue = self.queue();
            queue.closed = true;
            queue.jobs.is_empty()
        };
        self.jobs.close();
        if empty {
            self.finished.cancel();
        }
    }

    /// Nothing more is pushed or taken: what is left.
    pub(crate) fn clear(&self) -> Vec<Job> {
        self.close();
        let jobs = std::iter::from_fn(|| self.pop()).collect();
        self.finished.cancel();
        jobs
    }

    /// Until there is nothing to take any more.
    pub(crate) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// The next job, if one waits.
    pub(crate) fn try_next(&self) -> Option<Job> {
        self.jobs.try_acquire().ok()?.forget();
        self.pop()
    }

    fn pop(&self) -> Option<Job> {
        let (job, last) = {
            let mut queue = self.queue();
            let job = queue.jobs.pop_front()?;
            queue.messages -= job.open.len();
            (job, queue.closed && queue.jobs.is_empty())
        };
        self.progress.unqueued(job.open.len());
        if last {
            self.finished.cancel();
        }
        Some(job)
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use longline_load_truth::{Header, Kind};

    use super::*;

    fn job(sequence: u64, users: u32) -> Job {
        let header = Header { run: 1, agent: 0, kind: Kind::Unicast, user: 0, sequence, due: 0 };
        {
            let users: Vec<u32> = (0..users).collect();
            Job::batch(header, 32, &users, vec![sequence; users.len()])
        }
    }

    fn backlog(limit: usize) -> Backlog {
        Backlog::new(limit, Arc::default())
    }

    fn taken(backlog: &Backlog) -> Option<Option<u64>> {
        backlog.next().now_or_never().map(|job| job.map(|job| job.header.sequence))
    }

    #[test]
    fn the_bound_counts_messages_and_an_empty_queue_takes_any_request() {
        let backlog = backlog(10);
        assert!(backlog.has_room(1000));
        backlog.push(job(0, 8)).unwrap();
        assert!(backlog.has_room(2) && !backlog.has_room(3));
        assert_eq!(taken(&backlog), Some(Some(0)));
        assert!(backlog.has_room(3));
        assert_eq!(backlog.progress.counts().backlog_max, 8);
    }

    #[test]
    fn jobs_come_in_order_and_a_wait_that_is_given_up_loses_none() {
        let backlog = backlog(10);
        assert_eq!(taken(&backlog), None);
        backlog.push(job(1, 1)).unwrap();
        backlog.push(job(2, 1)).unwrap();
        assert_eq!((taken(&backlog), taken(&backlog)), (Some(Some(1)), Some(Some(2))));
        assert_eq!(taken(&backlog), None);
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_finished() {
        let backlog = backlog(10);
        backlog.push(job(1, 1)).unwrap();
        backlog.push(job(2, 1)).unwrap();
        backlog.close();
        assert!(backlog.push(job(3, 1)).is_err());
        assert_eq!(taken(&backlog), Some(Some(1)));
        assert!(backlog.finished().now_or_never().is_none());
        assert_eq!(taken(&backlog), Some(Some(2)));
        assert!(backlog.finished().now_or_never().is_some());
        assert_eq!(taken(&backlog), Some(None));
    }

    #[test]
    fn what_is_cleared_is_handed_back() {
        let backlog = backlog(10);
        backlog.push(job(1, 1)).unwrap();
        assert_eq!(backlog.clear().len(), 1);
        assert!(backlog.finished().now_or_never().is_some());
        assert_eq!(taken(&backlog), Some(None));
    }
}
