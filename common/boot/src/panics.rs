//! A panic in any thread or task ends the whole process in order: a process with a dead part would look alive.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Whether there has been a panic since [`install`].
pub(crate) fn happened() -> bool {
    PANICKED.load(Ordering::Acquire)
}

/// From now on each panic is logged and counted, and starts the stop of the process.
pub(crate) fn install(panics: IntCounter, shutdown: CancellationToken) {
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Release);
        panics.inc();
        log(info);
        shutdown.cancel();
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no text)");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    tracing::error!(thread = thread.name(), place, %backtrace, "panic, so this process stops: {message}");
}
