use std::sync::Arc;

use longline_types::Load;
use tokio::time::Instant;

/// Counts the sessions of the room now.
pub(crate) type CountSessions = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Clock ticks a second of `/proc/self/stat`; fixed for all of Linux's user space.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Measures what the room reports as its load.
pub(crate) struct LoadMeter {
    sessions: CountSessions,
    capacity: u64,
    cpu: Option<(u64, Instant)>,
}

impl LoadMeter {
    pub(crate) fn new(sessions: CountSessions, capacity: u64) -> LoadMeter {
        LoadMeter { sessions, capacity, cpu: None }
    }

    /// The load now; CPU since the last reading. What the system does not tell is 0.
    pub(crate) fn read(&mut self) -> Load {
        let (ticks, now) = (cpu_ticks().unwrap_or(0), Instant::now());
        let cpu_permille = self.cpu.replace((ticks, now)).map_or(0, |(before, then)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            (ticks.saturating_sub(before) as f64 / TICKS_PER_SECOND / seconds * 1000.0) as u32
        });
        Load {
            sessions: (self.sessions)(),
            capacity: self.capacity,
            cpu_permille,
            resident_bytes: resident_pages().unwrap_or(0) * PAGE_BYTES,
        }
    }
}

/// User and system time of the process, from proc(5).
fn cpu_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses and may contain anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn resident_pages() -> Option<u64> {
    std::fs::read_to_string("/proc/self/statm").ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_of_this_process_is_plausible() {
        let mut meter = LoadMeter::new(Arc::new(|| 7), 100);
        let load = meter.read();
        assert_eq!((load.sessions, load.capacity, load.cpu_permille), (7, 100, 0));
        assert!(load.resident_bytes > 100_000);
        assert!(cpu_ticks().is_some());
    }
}
