//! `longline ctl` against a keeper in a process of its own.
#![allow(clippy::unwrap_used)] // all of this is a test

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use longline_testkit::{Process, Scratch, eventually_some};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_longline");

/// A keeper, and where it listens.
async fn keeper(scratch: &Scratch) -> (Process, String) {
    let folder = scratch.folder("keeper").unwrap();
    let (config, addresses) = (folder.join("keeper.toml"), folder.join("addresses"));
    let data = folder.join("data");
    std::fs::write(&config, format!("data = {data:?}\n[node]\nrpc = \"127.0.0.1:0\"\n")).unwrap();
    let arguments =
        ["keeper", "--config", config.to_str().unwrap(), "--addresses", addresses.to_str().unwrap()];
    let process =
        Process::start(Path::new(PROGRAM), &arguments.map(str::to_owned), &folder.join("log")).unwrap();
    let read = async || serde_json::from_slice::<Value>(&std::fs::read(&addresses).ok()?).ok();
    let addresses = eventually_some(Duration::from_secs(30), "the keeper listens", read).await;
    (process, addresses["rpc"].as_str().unwrap().to_owned())
}

/// Whether it succeeded, and what it printed: on stdout if it did, else on stderr.
fn ctl(keeper: &str, words: &[&str], stdin: &str) -> (bool, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["ctl", "config", "--keeper", keeper]).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn entries_are_set_read_listed_and_deleted_by_comparing_revisions() {
    let scratch = Scratch::new().unwrap();
    let (_process, keeper) = keeper(&scratch).await;
    let (ok, first) = ctl(&keeper, &["set", "test/a", "one"], "");
    assert!(ok, "{first}");
    let first = first.trim();
    assert_eq!(ctl(&keeper, &["get", "test/a"], ""), (true, "one".into()));

    let (ok, said) = ctl(&keeper, &["set", "test/a", "two", "--revision", "0"], "");
    assert!(!ok && said.contains("somebody else has changed it") && said.contains(first), "{said}");
    assert!(ctl(&keeper, &["set", "test/a", "--revision", first], "from stdin\n").0);
    assert_eq!(ctl(&keeper, &["get", "test/a"], ""), (true, "from stdin\n".into()));

    let file = scratch.path().join("value");
    std::fs::write(&file, "from a file").unwrap();
    assert!(ctl(&keeper, &["set", "test/b", "--file", file.to_str().unwrap()], "").0);
    assert!(ctl(&keeper, &["set", "other", "x"], "").0);
    let (ok, listed) = ctl(&keeper, &["list", "test/"], "");
    let listed: Vec<&str> = listed.lines().filter_map(|line| line.split_once(' ')).map(|(_, l)| l).collect();
    assert!(ok);
    assert_eq!(listed, ["test/a (11 bytes)", "test/b (11 bytes)"]);

    assert!(ctl(&keeper, &["delete", "test/a"], "").0);
    for words in [["get", "test/a"], ["delete", "test/a"]] {
        let (ok, said) = ctl(&keeper, &words, "");
        assert!(!ok && said.contains("there is no entry `test/a`"), "{said}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_words() {
    let scratch = Scratch::new().unwrap();
    let (mut process, keeper) = keeper(&scratch).await;
    let (ok, said) = ctl(&keeper, &["set", "no spaces", "x"], "");
    assert!(!ok && said.contains("the keeper refuses") && said.contains("only letters"), "{said}");
    let (ok, said) = ctl(&keeper, &["set", "a", "--file", "/does/not/exist"], "");
    assert!(!ok && said.contains("cannot read /does/not/exist"), "{said}");
    let (ok, said) = ctl("nonsense address", &["get", "a"], "");
    assert!(!ok && said.contains("no host:port"), "{said}");
    let (ok, said) = ctl(&keeper, &["set", "room/admission", "deny = [\"10.0.0.0/40\"]"], "");
    assert!(!ok && said.contains("`10.0.0.0/40` is no network"), "{said}");
    assert!(ctl(&keeper, &["set", "room/admission", "deny = [\"10.0.0.0/4\"]"], "").1.contains("0.0.0.0/4"));
    assert!(ctl(&keeper, &["set", "room/admission", "deny = [\"10.0.0.0/8\"]"], "").0);
    process.kill().unwrap();
    let (ok, said) = ctl(&keeper, &["get", "a"], "");
    assert!(!ok && said.contains("cannot reach the keeper at"), "{said}");
}
