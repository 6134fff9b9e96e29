//! A server that loses, repeats, reorders or mixes up messages is caught, and the verdict names the fault and how often it happened.

use longline_load_faulty::{Committed, Faults, Faulty, KEY, PRODUCT};
use longline_load_results::Run;

use crate::support::{Ended, Tester};

/// Forty users, a few messages a second for each.
const SCENARIO: &str = r#"
name = "faulty"
[devices]
count = 40
connects_per_second = 400
[phases]
warm_up_s = 0.5
measured_s = 4
settle_s = 8
[unicast]
rate = 400
connections = 4
"#;

/// What the server did, and what the tester found.
struct Caught {
    committed: Committed,
    run: Run,
    output: String,
}

/// Runs the scenario against a server with these faults.
async fn against(faults: Faults, scenario: &str, more: &[&str]) -> Caught {
    let faulty = Faulty::start(faults).await.unwrap();
    let ended = tester(&faulty, scenario, more).ended().await;
    caught(&faulty, ended)
}

fn tester(faulty: &Faulty, scenario: &str, more: &[&str]) -> Tester {
    let (api, product) = (faulty.api(), PRODUCT.to_string());
    let server = ["--api", &api, "--dispatcher", &api, "--product", &product, "--key", KEY];
    let words: Vec<&str> = server.into_iter().chain(more.iter().copied()).collect();
    Tester::of(scenario, &words)
}

fn caught(faulty: &Faulty, ended: Ended) -> Caught {
    let run = ended.run.expect(&ended.output);
    let status = if run.verdict.ok { 0 } else { 1 };
    assert_eq!(ended.code, Some(status), "the exit status is the verdict's: {}", ended.output);
    Caught { committed: faulty.committed(), run, output: ended.output }
}

impl Caught {
    /// Red, with a reason in these words, and the first example of this fault.
    fn names(&self, words: &str) {
        let verdict = &self.run.verdict;
        assert!(!verdict.ok, "{verdict:?}");
        assert!(verdict.reasons.iter().any(|reason| reason.contains(words)), "{verdict:?}");
        assert!(!self.run.examples.is_empty(), "some are shown");
        assert!(self.output.contains(words), "the summary says it: {}", self.output);
    }
}

#[tokio::test]
async fn a_right_server_is_green() {
    let Caught { committed, run, output } = against(Faults::default(), SCENARIO, &[]).await;
    assert_eq!(committed, Committed::default());
    assert!(run.verdict.ok, "{output}");
    let counts = run.legs[0].counts;
    assert!(counts.received > 100 && counts.received == counts.accepted, "{counts:?}");
}

#[tokio::test]
async fn one_lost_in_ten_thousand_is_counted() {
    let faults = Faults { drop_one_in: Some(10_000), ..Faults::default() };
    let sets = ["--set", "unicast.via=\"batch\"", "--set", "unicast.batch=20", "--set", "unicast.rate=6000"];
    let found = against(faults, SCENARIO, &sets).await;
    assert!(found.committed.dropped >= 2, "{:?}", found.run.legs[0].counts);
    assert_eq!(found.run.verdict.lost, found.committed.dropped);
    found.names(" accepted messages ");
}

#[tokio::test]
async fn what_comes_twice_is_counted() {
    let faults = Faults { duplicate_one_in: Some(100), ..Faults::default() };
    let found = against(faults, SCENARIO, &[]).await;
    assert!(found.committed.duplicated > 5);
    assert_eq!((found.run.verdict.duplicated, found.run.verdict.lost), (found.committed.duplicated, 0));
    found.names("received again without need");

    let allowed = against(faults, SCENARIO, &["--set", "verdict.duplicated=1000"]).await;
    assert!(allowed.run.verdict.ok, "as many as the scenario lets through");
}

#[tokio::test]
async fn what_comes_in_another_order_is_counted() {
    let found = against(Faults { reorder_one_in: Some(100), ..Faults::default() }, SCENARIO, &[]).await;
    assert!(found.committed.reordered > 5);
    assert_eq!((found.run.verdict.reordered, found.run.verdict.lost), (found.committed.reordered, 0));
    found.names("received out of order");
}

#[tokio::test]
async fn what_comes_to_another_is_counted() {
    let found = against(Faults { foreign_one_in: Some(100), ..Faults::default() }, SCENARIO, &[]).await;
    assert!(found.committed.foreign > 5);
    assert_eq!(found.run.verdict.foreign, found.committed.foreign);
    found.names("received that should not have been");
}

#[tokio::test]
async fn a_202_before_storing_is_found_out_by_those_who_are_away() {
    let away = format!("{SCENARIO}[churn]\nshare_per_second = 0.2\nhalf_open = 0\naway_s = [0.5, 1.0]\n");
    let found = against(Faults { forget_offline: true, ..Faults::default() }, &away, &[]).await;
    let Committed { forgotten, forgotten_in_flight, .. } = found.committed;
    assert!(forgotten > 10, "{:?}", found.committed);
    let lost = found.run.verdict.lost;
    assert!((forgotten..=forgotten + forgotten_in_flight).contains(&lost), "{lost}: {:?}", found.committed);
    found.names("never received");
}

#[tokio::test]
async fn a_202_before_storing_is_found_out_by_a_crash() {
    let faulty = Faulty::start(Faults { forget_offline: true, ..Faults::default() }).await.unwrap();
    let stalled = format!("{SCENARIO}[hostile]\nnever_ack = 0.5\n");
    let mut tester = tester(&faulty, &stalled, &[]);
    tester.says("system 1 · settle").await;
    faulty.crash();
    let found = caught(&faulty, tester.ended().await);
    let Committed { forgotten, forgotten_in_flight, .. } = found.committed;
    assert!(forgotten + forgotten_in_flight > 0, "{:?}", found.committed);
    let lost = found.run.verdict.lost;
    assert!((forgotten..=forgotten + forgotten_in_flight).contains(&lost), "{lost}: {:?}", found.committed);
}

#[tokio::test]
async fn a_broadcast_that_misses_some_is_counted() {
    let broadcast = format!("{SCENARIO}[broadcast]\nevery_s = 1\n");
    let found =
        against(Faults { lose_broadcast_one_in: Some(20), ..Faults::default() }, &broadcast, &[]).await;
    assert_eq!(found.committed.broadcasts_lost, 8, "of 4 broadcasts to 40");
    assert_eq!(found.run.verdict.broadcast_missing, 8);
    found.names("deliveries of broadcasts were missing");
}

#[tokio::test]
async fn what_comes_after_its_expiry_is_counted() {
    let sets = ["--set", "unicast.ttl_s=1", "--set", "phases.measured_s=9"];
    let found = against(Faults { late_one_in: Some(100), ..Faults::default() }, SCENARIO, &sets).await;
    assert!(found.run.verdict.late > 5, "{:?}", found.run.verdict);
    assert!(found.run.verdict.late <= found.committed.late, "{:?}", found.committed);
    found.names("received after expiry");
}

#[tokio::test]
async fn a_room_that_never_answers_leaves_nothing_proved() {
    let faulty = Faulty::start(Faults { mute: true, ..Faults::default() }).await.unwrap();
    let mut tester = tester(&faulty, SCENARIO, &[]);
    tester.says("system 1 · ramp").await;
    std::process::Command::new("kill").args(["-INT", &tester.process.id().to_string()]).status().unwrap();
    let found = caught(&faulty, tester.ended().await);
    assert_eq!(found.run.legs[0].counts.received, 0);
    assert!(found.run.interrupted);
}
