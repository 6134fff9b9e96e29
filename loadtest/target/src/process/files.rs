//! The files of a process in `/proc`, see proc(5).

/// What is used of `/proc/<pid>/stat`.
#[derive(PartialEq, Debug)]
pub(super) struct Stat {
    /// Nobody has waited for it yet, or it is just being taken apart.
    pub(super) has_ended: bool,
    pub(super) threads: u64,
    /// In ticks since the start of the machine.
    pub(super) started: u64,
}

impl Stat {
    /// None if there is no such process.
    pub(super) fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The fields are numbered from 1, and the third follows the program's name in brackets.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Stat {
            has_ended: matches!(field(3)?, "Z" | "X" | "x"),
            threads: field(20)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
        })
    }
}

/// Resident memory in pages. From `statm`: the kernel sums up the per-core counts for it, while `stat` may be off by some of them.
pub(super) fn resident_pages(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Open files, as the size of the folder tells; none where it is always 0.
pub(super) fn open_files(pid: u32) -> Option<u64> {
    let size = std::fs::metadata(format!("/proc/{pid}/fd")).ok()?.len();
    Some(size).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let text = "42 (a) b (c)) S 1 2 3 0 -1 5 6 7 8 9 130 17 0 0 20 0 12 0 9900 4096000 250 184467 1 1";
        assert_eq!(Stat::parse(text), Some(Stat { has_ended: false, threads: 12, started: 9_900 }));
        let ended = text.replace(") S", ") Z");
        assert!(Stat::parse(&ended).unwrap().has_ended);
        assert_eq!(Stat::parse("42 (short) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn open_files_are_counted() {
        let pid = std::process::id();
        let Some(before) = open_files(pid) else { return };
        let files: Vec<_> = (0..500).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some at the same time.
        assert!(open_files(pid).unwrap() >= before + 450);
        drop(files);
    }
}
