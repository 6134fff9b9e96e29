//! Waiting for conditions, with a deadline and a name.

use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Waits until the condition holds; looks again every few milliseconds.
///
/// # Panics
/// After `deadline`, with the name of what it waited for.
#[track_caller]
pub fn eventually(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    eventually_some(deadline, what, async move || condition().await.then_some(()))
}

/// Waits until there is a value; looks again every few milliseconds.
///
/// # Panics
/// After `deadline`, with the name of what it waited for.
#[track_caller]
pub fn eventually_some<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            // A probe that hangs must not outlive the deadline.
            match tokio::time::timeout_at(end, probe()).await {
                Ok(Some(value)) => return value,
                Ok(None) if Instant::now() < end => tokio::time::sleep(pause).await,
                _ => panic!("waited {deadline:?} in vain for: {what} ({caller})"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_for_the_condition() {
        let mut left = 3;
        eventually(Duration::from_secs(5), "three looks", async || {
            left -= 1;
            left == 0
        })
        .await;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for: the impossible")]
    async fn it_names_what_never_came() {
        eventually(Duration::from_millis(10), "the impossible", async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for: an answer")]
    async fn a_probe_that_hangs_is_cut() {
        eventually_some::<()>(Duration::from_millis(10), "an answer", async || std::future::pending().await)
            .await;
    }
}
