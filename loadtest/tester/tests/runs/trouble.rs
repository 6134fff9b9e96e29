//! What goes wrong around a run: wrong scenarios, Ctrl-C, agents that die, agents elsewhere.

use std::process::Command;
use std::time::Duration;

use longline_testkit::{Process, Scratch, eventually_some};

use crate::support::{RUN, Tester, longline, program};

/// Long enough for something to happen in the middle.
const LONG: &str = r#"
name = "long"
[devices]
count = 40
connects_per_second = 400
[phases]
warm_up_s = 0
measured_s = 120
settle_s = 20
[unicast]
rate = 50
"#;

#[tokio::test]
async fn a_wrong_scenario_is_refused_before_anything_starts() {
    let ended = Tester::of(&LONG.replace("rate = 50", "rate = 50\nrat = 5"), &[]).ended().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.output.contains("scenario.toml:12: "), "file and line: {}", ended.output);
    assert!(ended.output.contains("did you mean"), "and the nearest name: {}", ended.output);
    assert!(ended.run.is_none());
}

#[tokio::test]
async fn ctrl_c_ends_with_a_report_of_what_was_measured() {
    let longline = longline();
    let mut tester = Tester::of(LONG, &["--binary", &longline]);
    tester.says("system 1 · measured").await;
    interrupt(tester.process.id());
    let ended = tester.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let run = ended.run.unwrap();
    assert!(run.interrupted && run.verdict.ok, "{:?}", run.verdict);
    assert!(run.legs[0].counts.received > 0);
}

#[tokio::test]
async fn a_dead_agent_is_named_and_its_devices_are_counted_out() {
    let longline = longline();
    let mut tester = Tester::of(
        &LONG.replace("measured_s = 120", "measured_s = 6"),
        &["--binary", &longline, "--set", "agents.local=2"],
    );
    tester.says("system 1 · measured").await;
    let agent = child_named(tester.process.id(), "agent").await;
    Command::new("kill").args(["-9", &agent.to_string()]).status().unwrap();
    tester.says("an agent died").await;
    let ended = tester.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let run = ended.run.unwrap();
    let dead: Vec<_> = run.agents.iter().filter(|agent| agent.died.is_some()).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(run.legs[0].series.last().unwrap().connected, 20, "the other's devices");
    assert!(run.verdict.ok, "nothing of the other's was lost: {:?}", run.verdict);
}

#[tokio::test]
async fn agents_elsewhere_join_by_address() {
    let scratch = Scratch::new().unwrap();
    let words = ["agent", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let agent = Process::start(&program(), &words, &scratch.path().join("log")).unwrap();
    let address = eventually_some(RUN, "the agent's address", async || {
        agent.output().lines().find_map(|l| l.strip_prefix("agent listens on ").map(str::to_owned))
    });
    let remote = format!("agents.remote=[\"{}\"]", address.await);
    let longline = longline();
    for _ in 0..2 {
        let text = LONG.replace("measured_s = 120", "measured_s = 1");
        let ended = Tester::of(&text, &["--binary", &longline, "--set", &remote]).ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        let run = ended.run.unwrap();
        assert_eq!(run.agents.len(), 1, "it is free for the next run");
        assert!(run.agents[0].remote.is_some() && run.legs[0].counts.received > 0);
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_named() {
    let longline = longline();
    let ended =
        Tester::of(LONG, &["--binary", &longline, "--set", "agents.remote=[\"127.0.0.1:1\"]"]).ended().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.output.contains("no agent answers at 127.0.0.1:1"), "{}", ended.output);
}

fn interrupt(pid: u32) {
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
}

/// A process that this one started with this subcommand.
async fn child_named(parent: u32, word: &str) -> u32 {
    let find = async || {
        let children =
            std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
        let mut ours = children.filter(|pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            after.split(' ').nth(1) == Some(&parent.to_string()) && line.split('\0').any(|w| w == word)
        });
        ours.next()
    };
    eventually_some(Duration::from_secs(20), "an agent's process", find).await
}
