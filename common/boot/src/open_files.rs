//! How many files the process has open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use prometheus::IntGauge;

const FOLDER: &str = "/proc/self/fd";
/// One part in so many of the time is the most that counting takes.
const SHARE: u32 = 100;
/// If the system has no thread for it now.
const AGAIN: Duration = Duration::from_secs(1);

/// Their number. Since Linux 6.2 it is the folder's size. Before that the entries have to be counted, at a microsecond each: that is
/// done aside, and rarely where it takes long, or every scrape of a room with a million connections would hold up everything beside
/// the shards for a second. What is shown is the last count then.
pub(crate) struct OpenFiles {
    pub(crate) gauge: IntGauge,
    /// When the next count may begin; none while one is under way.
    due: Arc<Mutex<Option<Instant>>>,
}

impl OpenFiles {
    /// Of a process that has just started, and has few.
    pub(crate) fn new() -> prometheus::Result<OpenFiles> {
        let gauge = IntGauge::new("process_open_fds", "Open files, connections among them")?;
        count(&gauge);
        Ok(OpenFiles { gauge, due: Arc::new(Mutex::new(Some(Instant::now()))) })
    }

    /// Sets the gauge, or has it set soon.
    pub(crate) fn read(&self) {
        match fs::metadata(FOLDER).map(|folder| folder.len()) {
            Ok(0) => self.count_aside(),
            Ok(files) => self.gauge.set(files as i64),
            Err(_) => {}
        }
    }

    fn count_aside(&self) {
        if lock(&self.due).take_if(|due| *due <= Instant::now()).is_none() {
            return;
        }
        let (gauge, due) = (self.gauge.clone(), Arc::clone(&self.due));
        let counting = move || {
            let began = Instant::now();
            count(&gauge);
            *lock(&due) = Some(next(began, Instant::now()));
        };
        if thread::Builder::new().name("open-files".into()).spawn(counting).is_err() {
            *lock(&self.due) = Some(Instant::now() + AGAIN);
        }
    }
}

fn count(gauge: &IntGauge) {
    if let Ok(entries) = fs::read_dir(FOLDER) {
        // One of them is this folder.
        gauge.set(entries.count() as i64 - 1);
    }
}

/// When to count again after a count from `began` to `ended`.
fn next(began: Instant, ended: Instant) -> Instant {
    ended + ended.saturating_duration_since(began) * SHARE
}

fn lock(due: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use longline_testkit::eventually;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn they_are_known_from_the_start_and_whatever_the_kernel() {
        let files = OpenFiles::new().unwrap();
        assert!(files.gauge.get() > 0);
        files.gauge.set(0);
        files.read();
        eventually(SOON, "read, or counted aside", async || files.gauge.get() > 0).await;
    }

    #[tokio::test]
    async fn they_are_counted_aside() {
        let files = OpenFiles::new().unwrap();
        let open: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        files.gauge.set(0);
        files.count_aside();
        eventually(SOON, "a count", async || lock(&files.due).is_some()).await;
        assert!(files.gauge.get() >= 50);
        drop(open);
    }

    #[test]
    fn counting_takes_its_share_of_the_time_only() {
        let began = Instant::now();
        let ended = began + Duration::from_secs(1);
        assert_eq!(next(began, ended) - ended, Duration::from_secs(100));
    }

    #[test]
    fn what_is_not_due_or_under_way_is_not_counted() {
        for due in [None, Some(Instant::now() + SOON)] {
            let files = OpenFiles::new().unwrap();
            files.gauge.set(0);
            *lock(&files.due) = due;
            files.count_aside();
            assert_eq!((files.gauge.get(), *lock(&files.due)), (0, due), "not now");
        }
    }
}
