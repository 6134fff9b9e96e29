//! The line of one kind of question to the savers: those wait that are too many now.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::metrics::Metrics;
use crate::window::Window;

/// Questions under way at once in the beginning, when the savers are slow, and at most.
const FIRST: u32 = 1_024;
const FEWEST: u32 = 64;
const MOST: u32 = 16 * 1_024;
/// Questions that wait; beyond it they are refused, and the shards ask again later.
const WAITING: usize = 1_000_000;
/// A group that has waited so long is refused too: its session may have gone by now.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets groups of questions go in the order of their coming, as many as the savers answer soon.
pub(crate) struct Line {
    state: Mutex<State>,
    /// For its clock.
    begun: Instant,
    refused: prometheus::IntCounter,
}

struct State {
    window: Window,
    groups: VecDeque<Waiting>,
    /// Of all groups that wait.
    questions: usize,
}

struct Waiting {
    questions: usize,
    /// Is told when the turn began.
    go: oneshot::Sender<u64>,
}

/// A group's turn. Dropped without [`Turn::done`] it says nothing about the savers.
pub(crate) struct Turn {
    line: Arc<Line>,
    questions: usize,
    since: u64,
}

impl Line {
    pub(crate) fn new(name: &str, metrics: &Metrics) -> Arc<Line> {
        let window = Window::new(FIRST, FEWEST, MOST);
        Arc::new(Line {
            state: Mutex::new(State { window, groups: VecDeque::new(), questions: 0 }),
            begun: Instant::now(),
            refused: metrics.lane_refused.with_label_values(&[name]),
        })
    }

    /// Waits for the turn of a group of this many questions; none if too many wait, or if it takes longer than a minute.
    pub(crate) async fn turn(self: &Arc<Line>, questions: usize) -> Option<Turn> {
        let mut place = {
            let mut state = self.state();
            if state.groups.is_empty() && state.window.has_space() {
                state.window.sent(questions);
                return Some(self.begin(questions, self.now_ms()));
            }
            if state.questions + questions > WAITING {
                self.refused.inc_by(questions as u64);
                return None;
            }
            let (go, place) = oneshot::channel();
            state.questions += questions;
            state.groups.push_back(Waiting { questions, go });
            place
        };
        let since = match timeout(PATIENCE, &mut place).await {
            Ok(told) => told.ok(),
            // It may have been told in this very moment.
            Err(_) => {
                place.close();
                place.try_recv().ok()
            }
        };
        if since.is_none() {
            self.refused.inc_by(questions as u64);
        }
        since.map(|since| self.begin(questions, since))
    }

    fn begin(self: &Arc<Line>, questions: usize, since: u64) -> Turn {
        Turn { line: Arc::clone(self), questions, since }
    }

    /// Lets as many go as may. A group that nobody waits for any more takes no turn.
    fn next(&self) {
        let mut state = self.state();
        while state.window.has_space() {
            let Some(Waiting { questions, go }) = state.groups.pop_front() else { break };
            state.questions -= questions;
            if go.send(self.now_ms()).is_ok() {
                state.window.sent(questions);
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The group was answered, or has failed.
    pub(crate) fn done(mut self, well: bool) {
        let questions = std::mem::take(&mut self.questions);
        let now = self.line.now_ms();
        self.line.state().window.answered(questions, self.since, now, well);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.state().window.forgotten(self.questions);
        self.line.next();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::Registry;
    use tokio::time::advance;

    use super::*;

    fn line() -> Arc<Line> {
        Line::new("ack", &Metrics::new(&Registry::new()))
    }

    /// Whether the turn has come without anything happening.
    async fn at_once(line: &Arc<Line>, questions: usize) -> Option<Turn> {
        tokio::select! {
            biased;
            turn = line.turn(questions) => turn,
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn groups_wait_in_order_while_the_window_is_full() {
        let line = line();
        let first = at_once(&line, FIRST as usize).await.unwrap();
        let mut waiting = Vec::new();
        for number in 0..3 {
            let line = line.clone();
            waiting.push(tokio::spawn(async move { (number, line.turn(1_000).await.unwrap()) }));
        }
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|w| !w.is_finished()), "the window is full");
        first.done(true);
        // It has doubled, so two of them go.
        let (number, second) = waiting.remove(0).await.unwrap();
        assert_eq!(number, 0);
        tokio::task::yield_now().await;
        assert!(waiting[0].is_finished(), "two of 1,000 are within 2,048");
        second.done(true);
        for (expected, task) in [1, 2].into_iter().zip(waiting) {
            let (number, turn) = task.await.unwrap();
            assert_eq!(number, expected);
            turn.done(true);
        }
        assert_eq!(line.state().window.under_way(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answers_let_fewer_go() {
        let line = line();
        for _ in 0..20 {
            let turn = at_once(&line, 10).await.unwrap();
            advance(Duration::from_secs(3)).await;
            turn.done(true);
        }
        let held = at_once(&line, FEWEST as usize).await.unwrap();
        assert!(at_once(&line, 1).await.is_none(), "as few as there may be");
        drop(held);
        assert!(at_once(&line, 1).await.is_some(), "a turn that was not used makes place");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_waiting_takes_no_turn() {
        let line = line();
        let held = at_once(&line, FIRST as usize).await.unwrap();
        assert!(at_once(&line, 5).await.is_none());
        held.done(true);
        assert_eq!(line.state().window.under_way(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let line = line();
        let held = at_once(&line, FIRST as usize).await.unwrap();
        let (begun, many) = (Instant::now(), 2_000);
        let waiting: Vec<_> = (0..many)
            .map(|_| {
                let line = line.clone();
                tokio::spawn(async move { line.turn(1).await.is_some() })
            })
            .collect();
        for turn in waiting {
            assert!(!turn.await.unwrap(), "no turn has come");
        }
        assert_eq!((begun.elapsed(), line.refused.get()), (PATIENCE, many));
        held.done(true);
        let state = line.state();
        assert_eq!((state.groups.len(), state.questions), (0, 0), "who has left is passed over");
        assert_eq!(state.window.under_way(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_that_wait_are_refused() {
        let line = line();
        let _held = at_once(&line, FIRST as usize).await.unwrap();
        let waits = tokio::spawn({
            let line = line.clone();
            async move { line.turn(WAITING).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(line.turn(1).await.is_none());
        assert_eq!(line.refused.get(), 1);
        waits.abort();
    }
}
