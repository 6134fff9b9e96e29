//! Waiting for a point in time to within some 50 microseconds. The runtime's own timer counts in milliseconds, and what it
//! wakes too late would be counted as latency.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use longline_load_truth::{Clock, Micros};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;

/// Something that knows the time and can wait for it.
pub(crate) trait Time: Send {
    /// Now.
    fn now(&self) -> Micros;
    /// Until then. If that has passed, others get to work first all the same.
    fn until(&mut self, at: Micros) -> impl Future<Output = ()> + Send;
}

/// The time of the machine.
pub(crate) struct Alarm {
    clock: Clock,
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Alarm {
    /// An alarm by this clock. Without a timer of the kernel's (none left) it counts in milliseconds.
    pub(crate) fn new(clock: Clock) -> Alarm {
        let timer = timer().inspect_err(|error| tracing::warn!(%error, "no precise timer")).ok();
        Alarm { clock, timer }
    }
}

impl Time for Alarm {
    fn now(&self) -> Micros {
        self.clock.now()
    }

    async fn until(&mut self, at: Micros) {
        let Some(left) = at.checked_sub(self.clock.now()).filter(|left| *left > 0) else {
            return yield_now().await;
        };
        let left = Duration::from_micros(left);
        let waited = match &self.timer {
            Some(timer) => wait(timer, left).await.is_ok(),
            None => false,
        };
        if !waited {
            tokio::time::sleep(left).await;
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for handles that lose their descriptor; an OwnedFd keeps it"
)]
fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)
}

/// Setting the timer anew takes back an expiry that nobody waited for.
async fn wait(timer: &AsyncFd<OwnedFd>, left: Duration) -> io::Result<()> {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let value = Timespec::try_from(left).unwrap_or(zero);
    let spec = Itimerspec { it_interval: zero, it_value: value };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
    loop {
        let mut ready = timer.readable().await?;
        match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut [0; 8])?)) {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_never_wakes_early_and_what_has_passed_is_not_waited_for() {
        let clock = Clock::new();
        let mut alarm = Alarm::new(clock);
        assert!(alarm.timer.is_some());
        for wait in [300, 1_500, 10] {
            let at = clock.now() + wait;
            alarm.until(at).await;
            assert!(clock.now() >= at);
        }
        alarm.until(clock.now().saturating_sub(1_000_000)).await;
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_leaves_nothing_behind() {
        let clock = Clock::new();
        let mut alarm = Alarm::new(clock);
        let (soon, later) = (clock.now() + 2_000, clock.now() + 20_000);
        // Sets the timer, unless the time has passed meanwhile.
        let _ = alarm.until(soon).now_or_never();
        alarm.until(later).await;
        assert!(clock.now() >= later, "the first wait's expiry ended the second");
    }
}
