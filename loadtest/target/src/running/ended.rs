//! Processes that ended though nobody asked them to.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// A process that ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its name: `room-1`.
    pub name: String,
    /// How, as the system tells: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub how: String,
    /// The last lines that it wrote.
    pub last_words: String,
}

const LINES: usize = 20;
const BYTES: u64 = 16 * 1024;

/// The last lines of a file, however long it is.
pub(super) fn last_words(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut end = Vec::new();
        file.take(BYTES).read_to_end(&mut end)?;
        std::io::Result::Ok(end)
    };
    match read() {
        Ok(end) => {
            let text = String::from_utf8_lossy(&end);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        }
        Err(error) => format!("(its log {} cannot be read: {error})", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = (1..=10_000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(file.path(), text).unwrap();
        let words = last_words(file.path());
        assert!(words.starts_with("line 9981\n") && words.ends_with("line 10000"), "{words}");
        std::fs::write(file.path(), "only").unwrap();
        assert_eq!(last_words(file.path()), "only");
        assert!(last_words(Path::new("/no/log")).contains("/no/log cannot be read"));
    }
}
