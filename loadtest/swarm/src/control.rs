//! Orders to the threads of a swarm: a bounded queue each, and a waker.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use mio::{Poll, Token, Waker};

use crate::options::{Churn, Uplinks};

/// The token of the waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// Orders that wait; a thread takes all of them each turn.
const ORDERS: usize = 64;
/// How long an order waits for space. A thread that takes none for so long is lost.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// What a thread is to do, with its own share of each rate.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Order {
    Connect { per_second: f64, phase: f64 },
    Churn { churn: Option<Churn>, phase: f64 },
    Uplink { uplinks: Option<Uplinks>, phase: f64 },
    DropAll,
    AllBack,
    Stop,
}

/// The end that gives orders.
pub(crate) struct Orders {
    queue: SyncSender<Order>,
    waker: Waker,
}

impl Orders {
    /// A queue for the thread with this poll.
    ///
    /// # Errors
    /// If the kernel gives no waker.
    pub(crate) fn new(poll: &Poll) -> io::Result<(Orders, Receiver<Order>)> {
        let (queue, orders) = sync_channel(ORDERS);
        Ok((Orders { queue, waker: Waker::new(poll.registry(), WAKER)? }, orders))
    }

    /// Gives an order. To a thread that has ended it makes no difference.
    pub(crate) fn give(&self, mut order: Order) {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.queue.try_send(order) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => break,
                Err(TrySendError::Full(back)) => order = back,
            }
            if Instant::now() >= end {
                tracing::error!(?order, "a thread of the swarm takes no orders");
                break;
            }
            self.wake();
            std::thread::sleep(PAUSE);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::warn!(%error, "cannot wake a thread of the swarm");
        }
    }
}
