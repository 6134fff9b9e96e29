//! How many files the process has open.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

const FOLDER: &str = "/proc/self/fd";
/// Counting takes at most this part of the time.
const SHARE: u32 = 100;
/// Who asks waits for a count that will not take longer than this.
const SHORT: Duration = Duration::from_millis(1);

/// Their number. Since Linux 6.2 it is the folder's size. Before that the entries have to be counted, at a microsecond each: that is
/// done rarely where it takes long, and nobody waits for it, or every scrape of a room with a million connections would hold up
/// everything beside the shards for a second.
pub(crate) struct OpenFiles {
    pub(crate) gauge: IntGauge,
    last: Arc<Mutex<Count>>,
}

struct Count {
    took: Duration,
    /// When the next may begin; none while one is under way.
    due: Option<Instant>,
}

impl OpenFiles {
    pub(crate) fn new() -> prometheus::Result<OpenFiles> {
        let gauge = IntGauge::new("process_open_fds", "Open files, connections among them")?;
        let last = Count { took: Duration::ZERO, due: Some(Instant::now()) };
        Ok(OpenFiles { gauge, last: Arc::new(Mutex::new(last)) })
    }

    /// Sets the gauge.
    pub(crate) fn read(&self) {
        match fs::metadata(FOLDER).map(|folder| folder.len()) {
            Ok(0) => self.count(),
            Ok(files) => self.gauge.set(files as i64),
            Err(_) => {}
        }
    }

    fn count(&self) {
        let mut last = lock(&self.last);
        if last.due.take_if(|due| *due <= Instant::now()).is_none() {
            return;
        }
        let took = last.took;
        drop(last);
        let (gauge, last) = (self.gauge.clone(), Arc::clone(&self.last));
        let counting = move || {
            let began = Instant::now();
            if let Ok(entries) = fs::read_dir(FOLDER) {
                // One of them is this folder.
                gauge.set(entries.count() as i64 - 1);
            }
            let took = began.elapsed();
            *lock(&last) = Count { took, due: Some(Instant::now() + took * SHARE) };
        };
        if took <= SHORT {
            counting();
        } else if thread::Builder::new().name("open-files".into()).spawn(counting).is_err() {
            lock(&self.last).due = Some(Instant::now() + took * SHARE);
        }
    }
}

fn lock(last: &Mutex<Count>) -> MutexGuard<'_, Count> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(took: Duration, due: Option<Instant>) -> OpenFiles {
        let files = OpenFiles::new().unwrap();
        *lock(&files.last) = Count { took, due };
        files
    }

    #[test]
    fn few_files_are_counted_at_once() {
        let files = OpenFiles::new().unwrap();
        let open: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        files.count();
        assert!(files.gauge.get() >= 50);
        drop(open);
        let size = fs::metadata(FOLDER).unwrap().len();
        files.read();
        assert!(size == 0 || files.gauge.get() > 0);
    }

    #[test]
    fn many_are_counted_aside_and_rarely() {
        let long = Duration::from_secs(1);
        let files = after(long, Some(Instant::now()));
        files.count();
        let begun = Instant::now();
        while lock(&files.last).due.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is counted on a thread of its own");
            thread::yield_now();
        }
        assert!(files.gauge.get() > 0);
        for due in [None, Some(Instant::now() + long)] {
            let files = after(long, due);
            files.count();
            assert_eq!((files.gauge.get(), lock(&files.last).due), (0, due), "not now");
        }
    }

    #[test]
    fn counting_takes_its_share_of_the_time_only() {
        let files = OpenFiles::new().unwrap();
        let before = Instant::now();
        files.count();
        let last = lock(&files.last);
        assert!(last.due.unwrap() >= before + last.took * SHARE);
    }
}
