//! The standalone process as a person runs it: the printed lines work, and `kill -9` loses nothing.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use longline_e2e::{Api, Device, SOON};
use longline_procs::{Profile, binary};
use longline_sdk::Client;
use longline_testkit::{Process, Scratch, eventually_some, free_port};
use serde_json::json;
use tokio::process::Command;

/// A standalone process in a folder of its own; it keeps its ports over restarts.
struct Standalone {
    program: PathBuf,
    scratch: Scratch,
    http: u16,
    room: u16,
    starts: usize,
    process: Option<Process>,
}

/// What it printed.
struct Banner(String);

impl Banner {
    /// The rest of the line that begins with this.
    fn line(&self, begin: &str) -> &str {
        let line = self.0.lines().find_map(|l| l.trim().strip_prefix(begin));
        line.unwrap_or_else(|| panic!("no line begins with {begin}: {}", self.0)).trim()
    }

    /// The two lines to paste, as words: listen, then push.
    fn pasted(&self) -> [Vec<String>; 2] {
        ["listen", "push"].map(|tool| {
            let line = self.0.lines().find(|l| l.contains(&format!(" {tool} --user alice"))).unwrap();
            line.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
        })
    }
}

impl Standalone {
    fn new() -> Standalone {
        let (http, room) = (free_port().unwrap(), free_port().unwrap());
        let program = binary(Profile::Dev).unwrap();
        Standalone { program, scratch: Scratch::new().unwrap(), http, room, starts: 0, process: None }
    }

    /// Starts it, and waits until it says that it is ready.
    async fn start(&mut self) -> Banner {
        self.starts += 1;
        let log = self.scratch.path().join(format!("log-{}", self.starts));
        let data = self.scratch.path().join("data").to_string_lossy().into_owned();
        let (http, room) = (format!("127.0.0.1:{}", self.http), format!("127.0.0.1:{}", self.room));
        let arguments = ["standalone", "--data", &data, "--http", &http, "--room", &room].map(str::to_owned);
        self.process = Some(Process::start(&self.program, &arguments, &log).unwrap());
        let ready = async || ready(&log);
        Banner(eventually_some(SOON, "the standalone process is ready", ready).await)
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill().unwrap();
    }

    fn api(&self, banner: &Banner) -> Api {
        Api::new(format!("http://127.0.0.1:{}", self.http), key(banner))
    }

    fn rooms(&self) -> Vec<String> {
        vec![format!("127.0.0.1:{}", self.room)]
    }
}

fn ready(log: &Path) -> Option<String> {
    std::fs::read_to_string(log).ok().filter(|text| text.contains("Ctrl-C stops it"))
}

fn key(banner: &Banner) -> String {
    banner.line("key ").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_printed_lines_show_a_message_arriving() {
    let mut standalone = Standalone::new();
    let banner = standalone.start().await;
    let [listen, push] = banner.pasted();
    let listen = Command::new(&listen[0])
        .args(&listen[1..])
        .args(["--count", "1"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pushed = Command::new(&push[0]).args(&push[1..]).output().await.unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    let heard = tokio::time::timeout(SOON, listen.wait_with_output()).await.unwrap().unwrap();
    assert!(heard.status.success());
    assert!(String::from_utf8_lossy(&heard.stdout).contains("hello"), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_nothing_and_keeps_its_key() {
    let mut standalone = Standalone::new();
    let banner = standalone.start().await;
    let alice = Client::builder("phone")
        .rooms(standalone.rooms())
        .backoff(Duration::from_millis(20), Duration::from_millis(200))
        .bind(1, "alice", "");
    let alice = Device::start(alice).unwrap();
    let mut accepted = Vec::new();
    for round in 0..4 {
        let api = standalone.api(&banner);
        let sending = tokio::spawn(async move {
            let mut accepted = Vec::new();
            // Until the process is gone; what was answered with 202 counts, whatever was under way.
            for number in 0.. {
                let user = ["alice", "bob"][number % 2];
                match api.push(user, json!({ "round": round, "number": number })).await {
                    Ok(id) => accepted.push((user, id)),
                    Err(_) => break,
                }
            }
            accepted
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        standalone.kill();
        accepted.extend(sending.await.unwrap());
        let again = standalone.start().await;
        assert_eq!(key(&again), key(&banner));
    }
    assert!(accepted.len() > 20, "there was traffic: {}", accepted.len());
    let of = |user| accepted.iter().filter(|(u, _)| *u == user).map(|(_, id)| *id).collect::<Vec<_>>();
    alice.until_has(&of("alice")).await.unwrap();
    let bob = Device::bound(&standalone.rooms(), 1, "bob").await.unwrap();
    bob.until_has(&of("bob")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_written_from_the_documentation_receives_and_acknowledges() {
    let mut standalone = Standalone::new();
    let banner = standalone.start().await;
    let api = standalone.api(&banner);
    let id = api.push("carol", json!("from the page alone")).await.unwrap();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/mini_client.py");
    let port = standalone.room.to_string();
    let run = Command::new("python3")
        .args([client, "127.0.0.1", &port, "1", "carol", "--count", "1"])
        .kill_on_drop(true)
        .output();
    let heard = tokio::time::timeout(SOON, run).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert!(printed.contains(&format!("{id} \"from the page alone\"")), "{heard:?}");
    let acked = async || api.state(id).await.is_ok_and(|state| state == "acked");
    longline_testkit::eventually(SOON, "it is acknowledged", acked).await;
}
