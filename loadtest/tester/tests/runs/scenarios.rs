//! Every committed scenario, in a short form, against the real servers.

use std::collections::BTreeSet;

use longline_load_results::{PhaseName, Run, Sample, Side};

use crate::support::{Tester, longline, scenario};

/// Small and short, on whatever cores there are.
const SHORT: [&str; 12] = [
    "--set",
    "devices.count=80",
    "--set",
    "devices.connects_per_second=200",
    "--set",
    "phases.warm_up_s=0.5",
    "--set",
    "phases.measured_s=3",
    "--set",
    "servers.cores=[]",
    "--set",
    "agents.cores=[]",
];

/// Runs it and sees it green.
async fn green(name: &str, more: &[&str]) -> Run {
    let longline = longline();
    let sets = more.iter().flat_map(|set| ["--set", set]);
    let words: Vec<&str> = SHORT.into_iter().chain(sets).chain(["--binary", &longline]).collect();
    let ended = Tester::start(&scenario(name), &words).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let run = ended.run.unwrap();
    assert!(run.verdict.ok && !run.interrupted, "{:?}", run.verdict);
    assert_eq!(run.scenario.name, name);
    for leg in &run.legs {
        assert!(leg.phase(PhaseName::Settle).is_some(), "{name} went through all phases");
        assert_eq!(leg.series.last().unwrap().connected, 80, "everybody is back at the end of {name}");
    }
    run
}

/// Unicasts of the system's legs, all of them received and acknowledged.
fn unicasts(run: &Run) -> u64 {
    let legs = run.legs.iter().filter(|leg| leg.side == Side::System);
    legs.map(|leg| {
        let counts = leg.counts;
        assert!(counts.accepted > 0 && counts.received >= counts.accepted, "{counts:?}");
        assert_eq!(counts.received, counts.acked, "{counts:?}");
        counts.received
    })
    .sum()
}

/// With the reference beside it: both sides have figures, and there are ratios.
fn with_ratio(run: &Run) {
    assert_eq!(run.legs.len(), 2);
    let raw = run.legs.iter().find(|leg| leg.side == Side::Raw).unwrap();
    assert_eq!(raw.counts.received, raw.counts.accepted, "the reference loses nothing either");
    assert!(run.ratios.is_some());
}

#[tokio::test]
async fn idle() {
    let run = green("idle", &["reference.rounds=1"]).await;
    with_ratio(&run);
    assert!(run.figures.values.cpu_us_per_connect.is_some_and(|us| us > 0.0), "{:?}", run.figures);
    assert!(run.figures.values.connects_per_second.is_some_and(|rate| rate > 20.0), "{:?}", run.figures);
}

#[tokio::test]
async fn unicast() {
    let run = green("unicast", &["reference.rounds=1", "unicast.rate=200"]).await;
    with_ratio(&run);
    assert!(unicasts(&run) >= 600, "200 a second for 3 s and the warm-up");
    assert!(run.figures.values.latency_us.p50.is_some_and(|us| us > 0.0), "{:?}", run.figures);
    assert!(run.figures.values.cpu_us_per_unicast.is_some(), "{:?}", run.figures);
}

#[tokio::test]
async fn unicast_closed() {
    with_ratio(&green("unicast_closed", &["reference.rounds=1", "unicast.window=20"]).await);
}

#[tokio::test]
async fn unicast_batch() {
    let run = green("unicast_batch", &["reference.rounds=1", "unicast.batch=20", "unicast.window=60"]).await;
    assert!(unicasts(&run) > 100);
}

#[tokio::test]
async fn unicast_grpc() {
    let run = green("unicast_grpc", &["reference.rounds=1", "unicast.window=40"]).await;
    assert!(unicasts(&run) > 100);
}

#[tokio::test]
async fn broadcast() {
    let run = green("broadcast", &["reference.rounds=1", "broadcast.every_s=1"]).await;
    with_ratio(&run);
    for leg in &run.legs {
        assert_eq!((leg.broadcasts, leg.counts.broadcast_received), (3, 240), "{:?}", leg.counts);
    }
}

/// The room process is what is measured, and the backend and the room count their batches.
fn of_a_room(run: &Run) {
    with_ratio(run);
    assert_eq!((run.scenario.mode.as_str(), run.figures.of.as_str()), ("room", "room"));
    let roles: Vec<&str> = run.figures.values.roles.keys().map(String::as_str).collect();
    assert_eq!(roles, ["all", "backend", "keeper", "register"]);
    assert!(run.figures.values.cores.is_some_and(|cores| cores > 0.0), "{:?}", run.figures);
}

#[tokio::test]
async fn room_unicast() {
    let run =
        green("room_unicast", &["reference.rounds=1", "unicast.window=50", "phases.measured_s=5"]).await;
    of_a_room(&run);
    assert!(unicasts(&run) > 500);
    let values = &run.figures.values;
    assert!(values.cpu_us_per_unicast.is_some_and(|us| us > 0.0), "{values:?}");
    assert!(values.deliveries_per_batch.is_some_and(|items| (1.0..=256.0).contains(&items)), "{values:?}");
    assert!(values.acks_per_batch.is_some_and(|items| (1.0..=256.0).contains(&items)), "{values:?}");
}

#[tokio::test]
async fn room_open() {
    let run = green("room_open", &["reference.rounds=1", "unicast.rate=300"]).await;
    of_a_room(&run);
    assert!(unicasts(&run) >= 900, "300 a second for 3 s and the warm-up");
}

#[tokio::test]
async fn room_broadcast() {
    let run = green("room_broadcast", &["reference.rounds=2"]).await;
    assert_eq!(run.legs.len(), 4);
    for leg in &run.legs {
        assert_eq!((leg.broadcasts, leg.counts.broadcast_received), (3, 240), "{:?}", leg.counts);
    }
    assert!(run.figures.values.cpu_us_per_broadcast_delivery.is_some(), "{:?}", run.figures);
}

#[tokio::test]
async fn room_connect() {
    let run = green("room_connect", &["reference.rounds=1"]).await;
    of_a_room(&run);
    assert!(run.figures.values.cpu_us_per_connect.is_some_and(|us| us > 0.0), "{:?}", run.figures);
}

#[tokio::test]
async fn room_small() {
    let run = green("room_small", &["reference.rounds=1", "unicast.window=500"]).await;
    of_a_room(&run);
    for leg in &run.legs {
        assert!(leg.counts.received > 500 && leg.counts.acked == 0, "{:?}", leg.counts);
    }
    assert!(run.figures.values.cpu_us_per_unicast.is_some_and(|us| us > 0.0), "{:?}", run.figures);
}

#[tokio::test]
async fn room_idle() {
    let run = green("room_idle", &[]).await;
    assert_eq!(run.figures.of, "room");
    assert!(run.figures.values.cpu_us_per_connect.is_some(), "{:?}", run.figures);
}

#[tokio::test]
async fn room_storm() {
    let sets = ["unicast.rate=300", "churn.away_s=[0.1, 0.3]"];
    let run = green("room_storm", &sets).await;
    assert!(unicasts(&run) >= 600, "{:?}", run.legs[0].counts);
    assert!(run.legs[0].series.last().unwrap().connects > 120, "everybody came back more than once");
}

#[tokio::test]
async fn room_million() {
    let run = green("room_million", &["broadcast.every_s=2", "broadcast.per_second=40"]).await;
    let leg = &run.legs[0];
    assert_eq!(leg.counts.broadcast_received, 80, "{:?}", leg.counts);
    let last = leg.latency.broadcast.as_ref().unwrap().max;
    assert!(last >= 1_000_000, "80 devices at 40 a second: {last} us");
}

/// Devices come and go before a backend as before a saver: what was sent meanwhile is loaded.
#[tokio::test]
async fn a_room_alone_keeps_messages_for_those_who_are_away() {
    let churn = "churn={ share_per_second = 0.2, half_open = 0.5, away_s = [0.1, 0.5] }";
    let run = green("room_open", &["reference=none", "unicast.rate=300", churn]).await;
    assert!(unicasts(&run) >= 900, "{:?}", run.legs[0].counts);
    assert!(run.legs[0].series.last().unwrap().connects > 90);
}

#[tokio::test]
async fn churn() {
    let sets = ["churn.share_per_second=0.1", "churn.away_s=[0.1, 0.5]", "unicast.rate=100"];
    let run = green("churn", &sets).await;
    assert!(unicasts(&run) > 200);
    let connects = run.legs[0].series.last().unwrap().connects;
    assert!(connects > 90, "some dropped and came back: {connects}");
}

#[tokio::test]
async fn resume() {
    let sets = [
        "churn.share_per_second=0.1",
        "churn.away_s=[0.1, 0.5]",
        "unicast.rate=100",
        // They come back to any of them.
        "servers.settings.room.engine.shards=4",
    ];
    let run = green("resume", &sets).await;
    assert!(unicasts(&run) > 200);
    let last = run.legs[0].series.last().unwrap();
    assert!(last.connects > 90, "some dropped and came back: {}", last.connects);
    assert_eq!(last.resumed, last.connects - 80, "all of those to their sessions");
}

#[tokio::test]
async fn uplink() {
    let run = green("uplink", &["uplink.rate=50"]).await;
    let uplinks = run.legs[0].uplinks;
    assert!(uplinks.acked > 100 && uplinks.received == uplinks.acked, "{uplinks:?}");
}

#[tokio::test]
async fn hostile() {
    let sets = [
        "hostile.never_ack=0.05",
        "hostile.slow=0.05",
        "hostile.stop_reading=0.05",
        "hostile.silent=0.05",
        // Each device draws its lot: with 0.05 there would be none among 80 in one run of sixty.
        "hostile.rubbish=0.2",
        "unicast.rate=200",
    ];
    let run = green("hostile", &sets).await;
    let closes = &run.legs[0].closes;
    assert!(!closes.is_empty(), "the room closed those who sent rubbish: {closes:?}");
    assert!(unicasts(&run) > 400);
}

#[tokio::test]
async fn storm() {
    let run = green("storm", &["storm.at_s=1", "unicast.rate=100"]).await;
    assert!(unicasts(&run) > 200);
    assert!(run.legs[0].series.last().unwrap().connects >= 160, "everybody came back");
}

#[tokio::test]
async fn kill_room() {
    let run = green("kill_room", &["servers.rooms=2", "storm.at_s=1", "unicast.rate=100"]).await;
    assert!(unicasts(&run) > 200);
    assert!(run.legs[0].series.last().unwrap().connects > 80, "those of the room that died came back");
}

#[tokio::test]
async fn rolling() {
    let sets =
        ["servers.rooms=2", "storm.at_s=1", "unicast.rate=100", "servers.settings.room.drain.within_ms=500"];
    let run = green("rolling", &sets).await;
    assert!(unicasts(&run) > 200);
    let last = run.legs[0].series.last().unwrap();
    assert!(last.connects >= 160, "everybody moved at least once: {}", last.connects);
    let rooms: BTreeSet<u32> = run.legs[0].series.iter().flat_map(pids_of_rooms).collect();
    assert_eq!(rooms.len(), 4, "both were started twice");
}

fn pids_of_rooms(sample: &Sample) -> Vec<u32> {
    sample.processes.iter().filter(|process| process.role == "room").map(|process| process.pid).collect()
}

#[tokio::test]
async fn day() {
    let sets = ["storm.at_s=1", "broadcast.every_s=2", "unicast.rate=100", "churn.away_s=[0.1, 0.5]"];
    let run = green("day", &sets).await;
    let leg = &run.legs[0];
    assert!(leg.counts.broadcast_received > 0 && leg.uplinks.acked > 0, "{:?}", leg.counts);
    assert!(run.figures.values.cpu_us_per_unicast.is_none(), "what is mixed cannot be told apart");
    assert!(run.figures.values.absent.contains_key("cpu_us_per_unicast"), "and it is said why");
}

#[tokio::test]
async fn soak() {
    let run =
        green("soak", &["broadcast.every_s=2", "churn.share_per_second=0.05", "churn.away_s=[0.1, 0.5]"])
            .await;
    assert!(unicasts(&run) > 100);
}

#[tokio::test]
async fn million() {
    let sets = ["servers.rooms=2", "broadcast.every_s=2", "agents.local=2", "phases.settle_s=30"];
    let run = green("million", &sets).await;
    assert_eq!(run.agents.len(), 2);
    assert_eq!(run.legs[0].counts.broadcast_received, 80, "{:?}", run.legs[0].counts);
}
