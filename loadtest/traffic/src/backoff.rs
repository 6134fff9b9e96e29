//! How long to wait before connecting again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Nothing before the first try; then longer each time until an answer was heard.
#[derive(Debug)]
pub(crate) struct Backoff {
    not_before: Option<Instant>,
    next: Duration,
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { not_before: None, next: SHORTEST }
    }

    /// Until the next try may begin. A wait that is given up goes on where it was.
    pub(crate) async fn wait(&mut self) {
        if let Some(at) = self.not_before {
            sleep_until(at).await;
        }
        self.not_before = Some(Instant::now() + self.next);
        self.next = (self.next * 2).min(LONGEST);
    }

    /// The other side works.
    pub(crate) fn reset(&mut self) {
        *self = Backoff::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tries_come_further_and_further_apart() {
        let mut backoff = Backoff::new();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let before = Instant::now();
            backoff.wait().await;
            pauses.push(before.elapsed().as_millis());
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 640, 1000]);
        backoff.reset();
        let before = Instant::now();
        backoff.wait().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
