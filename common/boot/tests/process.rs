//! A process from its start to its end: each test runs this test binary again as the process to look at.
#![allow(clippy::unwrap_used)] // all of this is a test

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use longline_boot::{Boot, BootOptions, run};
use longline_config::LogConfig;
use rustix::process::{Pid, Signal, getpriority_process, kill_process};

/// The other side: runs the behaviour named in the environment. Not a test by itself.
#[test]
#[ignore = "run by the tests below"]
fn process() {
    let Ok(behaviour) = std::env::var("BEHAVIOUR") else { return };
    let seconds = if behaviour == "hang briefly" { 0 } else { 60 };
    let admin = std::env::var("ADMIN").unwrap_or("127.0.0.1:0".to_owned());
    let options = BootOptions {
        log: LogConfig::default(),
        admin: Some(admin.parse().unwrap()),
        shutdown: Duration::from_secs(seconds),
        runtime_nice: if behaviour == "stand back" { 5 } else { 0 },
    };
    let code = run(options, |boot| behave(boot, behaviour));
    assert_eq!(code, ExitCode::SUCCESS);
}

async fn behave(boot: Boot, behaviour: String) -> anyhow::Result<()> {
    boot.deps("room").health.ready();
    println!("up {}", boot.admin().unwrap());
    match behaviour.as_str() {
        "fail" => anyhow::bail!("the disk is full"),
        "stand back" | "stand equal" => tell_nice_values().await,
        "panic" => drop(tokio::spawn(async { panic!("on purpose") })),
        _ => {}
    }
    boot.shutdown.cancelled().await;
    println!("stopping");
    if behaviour.starts_with("hang") {
        std::future::pending::<()>().await;
    }
    println!("stopped");
    Ok(())
}

/// What is added to the process's nice value in a task, in a blocking call out of one, and in a thread that the services start.
async fn tell_nice_values() {
    fn nice() -> i32 {
        getpriority_process(None).unwrap()
    }
    let (of_process, started) = (nice(), std::thread::spawn(nice).join().unwrap());
    let of_task = tokio::spawn(async { [nice(), tokio::task::spawn_blocking(nice).await.unwrap()] });
    let [task, blocking] = of_task.await.unwrap();
    println!("nice {} {} {}", task - of_process, blocking - of_process, started - of_process);
}

struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(behaviour: &str, admin: &str) -> Running {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["process", "--exact", "--ignored", "--nocapture"])
            .env("BEHAVIOUR", behaviour)
            .env("ADMIN", admin)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// The rest of the line that starts so.
    fn line(&mut self, start: &str) -> String {
        let found = self.lines.find_map(|line| Some(line.unwrap().split_once(start)?.1.to_owned()));
        found.unwrap_or_else(|| panic!("the process ended without saying \"{start}\""))
    }

    fn signal(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Whether it ended well, and what it wrote to stdout since, and to stderr.
    fn end(mut self) -> (bool, String, String) {
        let mut said = String::new();
        for line in self.lines {
            said += &line.unwrap();
        }
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().success(), said, log)
    }
}

#[test]
fn a_signal_stops_it_in_order() {
    let mut process = Running::start("", "127.0.0.1:0");
    process.line("up");
    process.signal();
    let (well, said, log) = process.end();
    assert!(well && said.contains("stopped"), "{said} {log}");
    assert!(log.contains("SIGTERM"), "{log}");
}

#[test]
fn a_panic_in_a_task_stops_it_in_order_and_is_a_failure() {
    let (well, said, log) = Running::start("panic", "127.0.0.1:0").end();
    assert!(!well && said.contains("stopped"), "{said} {log}");
    assert!(log.contains("on purpose") && log.contains("process.rs"), "{log}");
}

#[test]
fn an_error_is_told_and_is_a_failure() {
    let (well, _, log) = Running::start("fail", "127.0.0.1:0").end();
    assert!(!well && log.contains("the disk is full"), "{log}");
}

#[test]
fn a_stop_that_hangs_is_cut_short() {
    let mut process = Running::start("hang briefly", "127.0.0.1:0");
    process.line("up");
    process.signal();
    let (well, said, log) = process.end();
    assert!(!well && !said.contains("stopped") && log.contains("cut short"), "{said} {log}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut process = Running::start("hang", "127.0.0.1:0");
    process.line("up");
    process.signal();
    process.line("stopping");
    process.signal();
    let (well, _, log) = process.end();
    assert!(!well && log.contains("SIGTERM again"), "{log}");
}

#[test]
fn a_taken_admin_port_is_named() {
    let mut first = Running::start("", "127.0.0.1:0");
    let address = first.line("up ");
    let (well, _, log) = Running::start("", &address).end();
    assert!(
        !well && log.contains(&format!("cannot listen on {address}, the admin port: Address already in use")),
        "{log}"
    );
    first.signal();
    assert!(first.end().0);
}

#[test]
fn the_runtime_stands_back_behind_the_threads_that_services_start() {
    for (behaviour, nice) in [("stand back", "5 5 0"), ("stand equal", "0 0 0")] {
        let mut process = Running::start(behaviour, "127.0.0.1:0");
        assert_eq!(process.line("nice "), nice, "{behaviour}");
        process.signal();
        assert!(process.end().0);
    }
}
