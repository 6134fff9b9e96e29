//! Parts of a process that live and die together.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Parts of a process that live and die together: if one ends, all end. They are stopped in the reverse order of their start,
/// each after the one before has ended, so that nobody loses what it stands on while it stops.
pub struct Parts {
    shutdown: CancellationToken,
    ended: CancellationToken,
    deadline: Duration,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Parts {
    /// No parts yet. They are stopped when `shutdown` is cancelled; after `deadline` no more is waited for.
    pub fn new(shutdown: CancellationToken, deadline: Duration) -> Parts {
        Parts { shutdown, ended: CancellationToken::new(), deadline, parts: Vec::new() }
    }

    /// Starts a part. It gets the token that tells it to stop.
    pub fn spawn<F, Fut>(&mut self, name: impl Into<String>, part: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let future = part(stop.clone());
        let ended = self.ended.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _ended = ended; // also when the part panics
            future.await
        });
        self.parts.push(Part { name: name.into(), stop, task });
    }

    /// Ends when a part has ended, which nobody asked for, or the process is to stop.
    pub async fn one_ended(&self) {
        self.ended.cancelled().await;
    }

    /// Waits for the shutdown or for the first part to end, then stops all. An error if a part ended unasked, failed, or did not
    /// end in time; the first in order of stopping.
    pub async fn join(self) -> anyhow::Result<()> {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.ended.cancelled() => {}
        }
        let asked = self.shutdown.is_cancelled();
        let culprit = self.parts.iter().position(|p| p.task.is_finished());
        let deadline = Instant::now() + self.deadline;
        let mut first_error = None;
        for (index, part) in self.parts.into_iter().enumerate().rev() {
            let name = part.name.clone();
            let unasked = !asked && culprit == Some(index);
            if let Err(error) = part.end(deadline, unasked).await {
                tracing::error!(part = name, "{error:#}");
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Part {
    /// Stops it. Half of the time left is its share: one that hangs leaves time for those after it.
    async fn end(mut self, deadline: Instant, unasked: bool) -> anyhow::Result<()> {
        self.stop.cancel();
        let share = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let Ok(ended) = timeout_at(share, &mut self.task).await else {
            self.task.abort();
            return Err(anyhow!("{} did not stop in time", self.name));
        };
        match ended {
            Ok(Ok(())) if unasked => Err(anyhow!("{} ended though nobody asked it to", self.name)),
            Ok(result) => result.with_context(|| format!("{} failed", self.name)),
            Err(error) => {
                Err(anyhow!("{} {}", self.name, if error.is_panic() { "panicked" } else { "was aborted" }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Parts that note their names when they stop.
    fn noted(shutdown: &CancellationToken) -> (Parts, Arc<Mutex<Vec<&'static str>>>) {
        let mut parts = Parts::new(shutdown.clone(), Duration::from_secs(10));
        let notes = Arc::new(Mutex::new(Vec::new()));
        for name in ["keeper", "saver", "room"] {
            let notes = notes.clone();
            parts.spawn(name, |stop| async move {
                stop.cancelled().await;
                notes.lock().unwrap().push(name);
                Ok(())
            });
        }
        (parts, notes)
    }

    #[tokio::test]
    async fn a_shutdown_stops_the_last_started_first() {
        let shutdown = CancellationToken::new();
        let (parts, notes) = noted(&shutdown);
        shutdown.cancel();
        parts.join().await.unwrap();
        assert_eq!(*notes.lock().unwrap(), ["room", "saver", "keeper"]);
    }

    #[tokio::test]
    async fn if_one_ends_all_end() {
        let shutdown = CancellationToken::new();
        let (mut parts, notes) = noted(&shutdown);
        parts.spawn("center", |_| async { Ok(()) });
        let error = parts.join().await.unwrap_err();
        assert_eq!(error.to_string(), "center ended though nobody asked it to");
        assert_eq!(notes.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_error_is_told_with_its_part() {
        let (mut parts, _) = noted(&CancellationToken::new());
        parts.spawn("center", |_| async { Err(anyhow!("the disk is full")) });
        let error = parts.join().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "center failed: the disk is full");
    }

    #[tokio::test]
    async fn a_panic_ends_all() {
        let (mut parts, notes) = noted(&CancellationToken::new());
        parts.spawn("center", |_| async { panic!("on purpose") });
        assert_eq!(parts.join().await.unwrap_err().to_string(), "center panicked");
        assert_eq!(notes.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_leaves_time_for_the_others() {
        let shutdown = CancellationToken::new();
        let (mut parts, notes) = noted(&shutdown);
        parts.spawn("center", |_| std::future::pending());
        shutdown.cancel();
        assert_eq!(parts.join().await.unwrap_err().to_string(), "center did not stop in time");
        assert_eq!(*notes.lock().unwrap(), ["room", "saver", "keeper"]);
    }
}
