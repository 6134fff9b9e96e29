//! What the process uses, under the names that Prometheus clients agree on. Read from `/proc` when asked: the prometheus crate's own
//! collector stands on a parser of all of `/proc`, which takes a good part of the first build.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge};
use rustix::param::{clock_ticks_per_second, page_size};

use crate::open_files::OpenFiles;

/// The process's use of CPU, memory, threads and files.
pub(crate) struct Usage {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    virtual_bytes: IntGauge,
    threads: IntGauge,
    open_files: OpenFiles,
    started: Gauge,
}

impl Usage {
    /// Of this process, which has just started.
    pub(crate) fn new() -> prometheus::Result<Usage> {
        let started = Gauge::new("process_start_time_seconds", "When the process started, Unix time")?;
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        Ok(Usage {
            cpu_seconds: Counter::new("process_cpu_seconds_total", "User and system CPU time spent")?,
            resident_bytes: IntGauge::new("process_resident_memory_bytes", "Memory in RAM")?,
            virtual_bytes: IntGauge::new("process_virtual_memory_bytes", "Memory mapped")?,
            threads: IntGauge::new("process_threads", "Threads")?,
            open_files: OpenFiles::new()?,
            started,
        })
    }

    fn parts(&self) -> [&dyn Collector; 6] {
        let Usage { cpu_seconds, resident_bytes, virtual_bytes, threads, open_files, started } = self;
        [cpu_seconds, resident_bytes, virtual_bytes, threads, &open_files.gauge, started]
    }

    fn read(&self) {
        if let Some(stat) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            let seconds = stat.cpu_ticks as f64 / clock_ticks_per_second() as f64;
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
            self.threads.set(stat.threads);
            self.virtual_bytes.set(stat.virtual_bytes);
            self.resident_bytes.set(stat.resident_pages * page_size() as i64);
        }
        self.open_files.read();
    }
}

impl Collector for Usage {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

/// What is used of `/proc/self/stat`.
#[derive(PartialEq, Debug)]
struct Stat {
    cpu_ticks: i64,
    threads: i64,
    virtual_bytes: i64,
    resident_pages: i64,
}

impl Stat {
    /// The fields are numbered as in proc(5), where the third follows the program's name in brackets.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let text = "42 (a) b (c)) S 1 2 3 0 -1 5 6 7 8 9 130 17 0 0 20 0 12 0 99 4096000 250 18446744073709551615 1 1";
        let stat = Stat { cpu_ticks: 147, threads: 12, virtual_bytes: 4_096_000, resident_pages: 250 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("42 (short) S 1"), None);
    }

    #[test]
    fn a_living_process_uses_something() {
        let usage = Usage::new().unwrap();
        let names: Vec<String> = usage.collect().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(names.len(), usage.desc().len());
        for gauge in [&usage.resident_bytes, &usage.virtual_bytes, &usage.threads, &usage.open_files.gauge] {
            assert!(gauge.get() > 0);
        }
        let before = usage.cpu_seconds.get();
        while usage.cpu_seconds.get() <= before {
            usage.read();
        }
    }
}
