//! What the processes of the system use, read from `/proc`: memory, CPU, threads, files.
//!
//! CPU comes from the kernel's clock of the whole process (`clock_getcpuclockid`), not from `/proc`. It counts nanoseconds, includes
//! the slice that a thread is just running and all threads that have ended, and costs one system call.
//! `/proc/<pid>/stat` counts ticks of 10 ms; `/proc/<pid>/task/*/schedstat` counts nanoseconds, but forgets threads that have ended,
//! is behind by up to a tick for those that run, and needs a file per thread.

mod files;

use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use rustix::param::page_size;
use serde::{Deserialize, Serialize};

use files::Stat;

/// A process that is watched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watched {
    /// `standalone`, the name of a role of the cluster, `redis` or `mariadb`.
    pub role: String,
    /// Unique in the system: `room-1`.
    pub name: String,
    /// Its number; another one after a restart.
    pub pid: u32,
}

/// What a process uses at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProcessSample {
    /// See [`Watched::role`].
    pub role: String,
    /// See [`Watched::name`].
    pub name: String,
    /// See [`Watched::pid`].
    pub pid: u32,
    /// Resident memory.
    pub rss_bytes: u64,
    /// CPU, user and system, since its start.
    pub cpu_us: u64,
    /// Threads now.
    pub threads: u64,
    /// Open files, connections among them; none where the kernel does not count them (before Linux 6.2), since to list those of a
    /// room would disturb it.
    pub open_files: Option<u64>,
}

/// Looks at processes again and again. A look takes a few system calls per process, whatever it holds.
#[derive(Debug)]
pub struct Probe {
    entries: Vec<Entry>,
}

impl Probe {
    /// Of these processes of this machine. After a restart, which gives a process another number, a new one is needed.
    pub fn new(processes: &[Watched]) -> Probe {
        Probe { entries: processes.iter().map(Entry::new).collect() }
    }

    /// One sample of each process that runs. Those that have ended are left out.
    pub fn sample(&self) -> Vec<ProcessSample> {
        self.entries.iter().filter_map(Entry::sample).collect()
    }
}

#[derive(Debug)]
struct Entry {
    watched: Watched,
    /// When it was started, in ticks since the start of the machine: another process may get its number once it has ended.
    /// None: it had ended before it was looked at for the first time.
    started: Option<u64>,
}

impl Entry {
    fn new(watched: &Watched) -> Entry {
        Entry { watched: watched.clone(), started: Stat::read(watched.pid).map(|stat| stat.started) }
    }

    fn sample(&self) -> Option<ProcessSample> {
        let Watched { role, name, pid } = self.watched.clone();
        let stat = Stat::read(pid).filter(|stat| Some(stat.started) == self.started && !stat.has_ended)?;
        let rss_bytes = files::resident_pages(pid)? * page_size() as u64;
        let cpu_us = cpu(pid)?.as_micros() as u64;
        let open_files = files::open_files(pid);
        Some(ProcessSample { role, name, pid, rss_bytes, cpu_us, threads: stat.threads, open_files })
    }
}

/// CPU that a process has used since its start, in user code and in the kernel, by all its threads. None if it has ended, and been
/// waited for.
pub fn cpu(pid: u32) -> Option<Duration> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let time = clock_getcpuclockid(Pid::from_raw(pid)).ok()?.now().ok()?;
    Some(Duration::from(time))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Instant;

    use super::*;

    fn start(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn watched(name: &str, pid: u32) -> Watched {
        Watched { role: "busy".into(), name: name.into(), pid }
    }

    #[test]
    fn cpu_of_a_busy_child_is_what_it_says_itself() {
        // Two threads that work, one after the other, and are gone when the process tells its own account; then it idles.
        let script = "import resource, sys, threading, time\n\
            def work():\n  end = time.thread_time() + 0.15\n  while time.thread_time() < end: pass\n\
            for _ in range(2):\n  t = threading.Thread(target=work); t.start(); t.join()\n\
            u = resource.getrusage(resource.RUSAGE_SELF)\n\
            print(u.ru_utime + u.ru_stime, flush=True)\n\
            sys.stdin.read()";
        let mut command = Command::new("python3");
        command.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut told = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut told).unwrap();
        let told: f64 = told.trim().parse().unwrap();

        let probe = Probe::new(&[watched("child", child.id())]);
        let seen = probe.sample().remove(0).cpu_us as f64 / 1e6;
        assert!(told >= 0.3 && (seen - told).abs() < told * 0.03, "{seen} s seen, {told} s told");
        end(child);
    }

    #[test]
    fn a_sample_tells_what_a_process_holds() {
        let own = watched("own", std::process::id());
        let held = vec![1_u8; 64 << 20];
        let sample = Probe::new(std::slice::from_ref(&own)).sample().remove(0);
        assert!(sample.rss_bytes > 64 << 20, "{sample:?}");
        assert!(sample.threads >= 1 && sample.open_files != Some(0), "{sample:?}");
        drop(std::hint::black_box(held));
        assert_eq!((sample.role, sample.name, sample.pid), (own.role, own.name, own.pid));
    }

    #[test]
    fn one_that_has_ended_and_was_not_waited_for_is_left_out() {
        let mut child = start("exit 0");
        let probe = Probe::new(&[watched("short", child.id())]);
        let begun = Instant::now();
        while !probe.sample().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert_eq!(cpu(child.id()), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_not_taken_for_it() {
        let own = Stat::read(std::process::id()).unwrap();
        let earlier = Entry { watched: watched("own", std::process::id()), started: Some(own.started - 1) };
        assert_eq!(earlier.sample(), None);
    }
}
