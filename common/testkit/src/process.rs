//! Child processes that never outlive their test.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// A running program. Its output goes to a file. Killed when dropped; the kernel kills it when this process ends in any way.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What a process has from outside.
#[derive(Clone, Default, Debug)]
pub struct Surroundings {
    /// Environment variables beside those of this process.
    pub environment: Vec<(String, String)>,
    /// The cores it may run on, numbered as the kernel does; empty: those of this process.
    pub cores: Vec<usize>,
}

impl Process {
    /// Starts a program; its standard output and error are appended to `log`.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Process> {
        Process::start_with(program, arguments, &Surroundings::default(), log)
    }

    /// Like [`Process::start`], in other surroundings than this process.
    pub fn start_with(
        program: &Path,
        arguments: &[String],
        surroundings: &Surroundings,
        log: &Path,
    ) -> anyhow::Result<Process> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(require("setpriv", "util-linux")?);
        command.args(["--pdeathsig", "KILL", "--"]);
        // Each program becomes the next one: the process id stays, and there is never a thread on another core.
        if !surroundings.cores.is_empty() {
            let cores: Vec<String> = surroundings.cores.iter().map(usize::to_string).collect();
            command.arg(require("taskset", "util-linux")?).args(["--cpu-list", &cores.join(",")]);
        }
        command
            .arg(program)
            .args(arguments)
            .envs(surroundings.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A group of its own: Ctrl-C in a terminal reaches whoever started it, who then stops it in order.
            .process_group(0);
        let child = spawn(command).with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops its clock, so to say: it stays, but does nothing until [`Process::resume`] (SIGSTOP).
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Process::pause`] (SIGCONT).
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!(
                    "process {} has not ended within {deadline:?}; it said:\n{}",
                    self.id(),
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.terminate()?;
        self.wait(deadline).await
    }

    /// All it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The last lines it printed.
    pub fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        kill_process(pid, signal).map_err(Into::into)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = self.kill();
    }
}

/// Where a program is, or an error that says which package of Debian has it.
pub fn require(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has servers in sbin, which is not in everybody's path.
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()]);
    folders
        .map(|f| f.join(program))
        .find(|p| p.is_file())
        .with_context(|| format!("{program} is not installed; on Debian: apt-get install {package}"))
}

/// Starts a child from a thread that lives as long as this process: the kernel's death signal is bound to the *thread* that
/// started a child, and the threads of tests come and go.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static NURSERY: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (orders, inbox) = mpsc::sync_channel::<Order>(16);
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that has gone has no use for the child: dropping the answer leaves it to the death signal.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let gone = |_| io::Error::other("the thread that starts processes has ended");
    let (reply, answer) = mpsc::sync_channel(1);
    nursery.send((command, reply)).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    fn sleeper(scratch: &Scratch) -> Process {
        let sleep = require("sleep", "coreutils").unwrap();
        Process::start(&sleep, &["1000".into()], &scratch.path().join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_child_outlives_the_thread_but_not_the_handle() {
        let scratch = Scratch::new().unwrap();
        let mut child = std::thread::scope(|s| s.spawn(|| sleeper(&scratch)).join().unwrap());
        assert!(child.wait(Duration::from_millis(100)).await.is_err(), "still running");
        let id = child.id();
        drop(child);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[tokio::test]
    async fn surroundings_are_as_given() {
        let cores = rustix::thread::sched_getaffinity(None).unwrap();
        let core = (0..1024).rfind(|core| cores.is_set(*core)).unwrap();
        let scratch = Scratch::new().unwrap();
        let shell = require("sh", "dash").unwrap();
        let script = "echo $LONGLINE_TEST_WORD; grep Cpus_allowed_list /proc/$$/status; echo pid $$";
        let environment = vec![("LONGLINE_TEST_WORD".into(), "word".into())];
        let surroundings = Surroundings { environment, cores: vec![core] };
        let log = scratch.path().join("log");
        let mut child =
            Process::start_with(&shell, &["-c".into(), script.into()], &surroundings, &log).unwrap();
        assert!(child.wait(Duration::from_secs(5)).await.unwrap().success(), "{}", child.output());
        let said = format!("word\nCpus_allowed_list:\t{core}\npid {}\n", child.id());
        assert_eq!(child.output(), said);
    }

    #[tokio::test]
    async fn stop_asks_and_waits() {
        let scratch = Scratch::new().unwrap();
        let mut child = sleeper(&scratch);
        assert!(!child.stop(Duration::from_secs(5)).await.unwrap().success());
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = require("longline-no-such-program", "longline-package").unwrap_err().to_string();
        assert!(error.contains("apt-get install longline-package"), "{error}");
    }
}
