//! The device's connection counter (R1): it rises with each connection, also over restarts, so that a late HELLO of an earlier
//! connection never displaces a later one.

use std::io::Write;
use std::path::{Path, PathBuf};

use longline_types::now_ms;

/// Gives rising numbers, kept in a file if there is one, else taken from the wall clock.
#[derive(Debug)]
pub(crate) struct Counter {
    last: u64,
    file: Option<PathBuf>,
}

impl Counter {
    /// Starts after what the file says. A file that is missing or unreadable counts as 0; the clock is above it then.
    pub(crate) fn new(file: Option<PathBuf>) -> Counter {
        let last = file
            .as_deref()
            .and_then(|path| std::fs::read_to_string(path).ok())
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        Counter { last, file }
    }

    /// The number of the next connection, on disk before it is used. A disk that fails is reported and does no further harm
    /// while the clock is right.
    pub(crate) async fn next(&mut self) -> u64 {
        self.last = now_ms().max(self.last.saturating_add(1));
        if let Some(path) = self.file.clone() {
            let number = self.last;
            let saved = tokio::task::spawn_blocking(move || save(&path, number)).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "the connection counter was not saved");
            }
        }
        self.last
    }
}

/// Written beside it and renamed, so that the file is never half a number.
fn save(path: &Path, number: u64) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    writeln!(file, "{number}")?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_rise_over_restarts_even_if_the_clock_falls_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        let ahead = now_ms() + 1_000_000;
        std::fs::write(&path, format!("{ahead}\n")).unwrap();
        let mut counter = Counter::new(Some(path.clone()));
        assert_eq!(counter.next().await, ahead + 1);
        assert_eq!(counter.next().await, ahead + 2);
        assert_eq!(Counter::new(Some(path)).next().await, ahead + 3);
    }

    #[tokio::test]
    async fn without_a_file_it_is_the_clock() {
        let before = now_ms();
        let mut counter = Counter::new(None);
        let first = counter.next().await;
        assert!(first >= before);
        assert!(counter.next().await > first);
    }

    #[tokio::test]
    async fn a_damaged_or_unwritable_file_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, "what?").unwrap();
        assert!(Counter::new(Some(damaged)).next().await > 0);
        assert!(Counter::new(Some(folder.path().join("no/such/folder"))).next().await > 0);
    }
}
