//! Scenarios that are right: what they mean, and that they can be written and read again.

use std::path::Path;
use std::time::Duration;

use longline_load_scenario::{
    Activity, Class, External, Hostile, LocalAgents, Machine, NetworkKind, Pace, Route, Scenario, Servers,
    StormKind, Transport, Via,
};

const SMALL: &str = "name = 'small'\n[devices]\ncount = 10\n[phases]\nmeasured_s = 1\n";

const FULL: &str = r#"
name = "full"
description = "everything"
[servers]
mode = "cluster"
rooms = 3
centers = 2
cores = [0, 1]
[servers.settings.room]
engine = { check_s = 2 }
[agents]
local = 2
remote = ["10.0.0.2:7700"]
cores = [1]
threads = 2
sources = ["127.0.0.1", "127.1.0.0/30"]
step_ms = 50
[devices]
count = 5000
connects_per_second = 250
route = "rooms"
tokens = true
resume = 0.5
[[devices.networks]]
kind = "wifi"
share = 0.3
heartbeat_s = [240, 480]
[[devices.networks]]
kind = "4g"
share = 0.1
[phases]
warm_up_s = 0.5
measured_s = 10
settle_s = 20
[unicast]
rate = 1000
payload_bytes = [{ bytes = 100, share = 0.8 }, { bytes = 4096, share = 0.2 }]
via = "grpc"
batch = 50
class = "transient"
ttl_s = 60
connections = 4
[broadcast]
every_s = 5
payload_bytes = 64
per_second = 1000
ttl_s = 600
[churn]
share_per_second = 0.001
half_open = 0.5
away_s = [0, 2.5]
[uplink]
rate = 10
payload_bytes = 32
[hostile]
never_ack = 0.1
silent = 0.2
[storm]
kind = "kill_room"
at_s = 3
[verdict]
duplicated = 1
reordered = 2
foreign = 3
late = 4
"#;

fn machine() -> Machine {
    Machine { cores: vec![0, 1] }
}

fn parse(text: &str, sets: &[&str]) -> Scenario {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Scenario::parse(Path::new("s.toml"), text, &sets, &machine()).expect("it is right")
}

#[test]
fn little_is_required_and_the_rest_has_defaults() {
    let scenario = parse(SMALL, &[]);
    assert_eq!((scenario.name.as_str(), scenario.description.as_str()), ("small", ""));
    assert!(
        matches!(&scenario.servers, Servers::Standalone(l) if l.cores.is_empty() && l.settings.is_empty())
    );
    assert_eq!((scenario.agents.local, scenario.agents.threads), (LocalAgents::Auto, 1));
    assert_eq!((scenario.devices.connects_per_second, scenario.devices.route), (500.0, Route::Dispatcher));
    assert_eq!((scenario.devices.networks.len(), scenario.devices.resume), (1, 0.0));
    assert_eq!(
        (scenario.devices.transport, scenario.devices.tls_name.as_str()),
        (Transport::Tcp, "localhost")
    );
    let wss = parse(SMALL, &["devices.transport=wss", "devices.tls_name=push.example"]).devices;
    assert_eq!((wss.transport, wss.tls_name.as_str()), (Transport::Wss, "push.example"));
    assert_eq!((scenario.phases.warm_up_s, scenario.phases.settle_s), (2.0, 30.0));
    assert_eq!((scenario.activities(), scenario.rounds()), (vec![], 1));
    let unicast = parse(&format!("{SMALL}[unicast]\nwindow = 64"), &[]).unicast.unwrap();
    assert_eq!((unicast.pace, unicast.via), (Pace::Closed { window: 64 }, Via::Http));
    assert_eq!((unicast.class, unicast.ttl_s, unicast.connections), (Class::Durable, None, 16));
    assert_eq!((unicast.payload_bytes[0].bytes, unicast.payload_bytes[0].share), (256, 1.0));
    assert_eq!(parse(&format!("{SMALL}[reference]"), &[]).rounds(), 3);
}

#[test]
fn everything_that_is_given_is_kept() {
    let scenario = parse(FULL, &[]);
    let Servers::Cluster { counts, local } = &scenario.servers else { panic!("{:?}", scenario.servers) };
    assert_eq!((counts.rooms, counts.centers, counts.savers), (3, 2, 1));
    assert_eq!(local.settings["room"]["engine"]["check_s"].as_integer(), Some(2));
    assert_eq!(scenario.agents.step_ms, 50);
    let sources = scenario.agents.source_addresses();
    assert_eq!(
        sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        "127.0.0.1 127.1.0.1 127.1.0.2"
    );
    assert_eq!(scenario.devices.resume, 0.5);
    let [wifi, lte] = &scenario.devices.networks[..] else { panic!() };
    assert_eq!((wifi.kind, lte.kind, lte.heartbeat_s), (NetworkKind::Wifi, NetworkKind::G4, (240, 480)));
    assert!((wifi.share - 0.75).abs() < 1e-9 && (lte.share - 0.25).abs() < 1e-9, "normalised");
    let unicast = scenario.unicast.as_ref().unwrap();
    assert_eq!((unicast.pace, unicast.via), (Pace::Open { per_second: 1000.0 }, Via::Grpc { users: 50 }));
    assert_eq!(unicast.payload_bytes[1].bytes, 4096);
    assert_eq!(scenario.hostile, Some(Hostile { never_ack: 0.1, silent: 0.2, ..Hostile::default() }));
    assert_eq!(scenario.storm.map(|s| (s.kind, s.at())), Some((StormKind::KillRoom, Duration::from_secs(3))));
    assert_eq!(scenario.churn.unwrap().away(), (Duration::ZERO, Duration::from_millis(2500)));
    assert_eq!(scenario.verdict.late, 4);
    assert_eq!(scenario.activities().len(), 6);
    assert_eq!(scenario.activities()[0], Activity::Unicast);
    assert_eq!((scenario.ramp(), scenario.leg()), (Duration::from_secs(20), Duration::from_millis(50_500)));
}

#[test]
fn a_scenario_is_written_and_read_again() {
    let external = External {
        api: vec!["http://a:1".into(), "http://b:1".into()],
        dispatcher: "http://d:2".into(),
        product: 7,
        key: "ll_\"x\"".into(),
        admin_key: Some("lla_y".into()),
    };
    let external = external.to_set();
    for scenario in [
        parse(SMALL, &[]),
        parse(FULL, &[]),
        parse(SMALL, &[&external, "unicast.window=5", "unicast.via=batch"]),
        parse(SMALL, &["reference={}", "agents.local=3", "broadcast.every_s=1"]),
        parse(SMALL, &["servers={ mode = 'room', cores = [0], other_cores = [1], window = 9 }"]),
        parse(SMALL, &["servers={ mode = 'room', settings = { room = { engine = { check_s = 1 } } } }"]),
    ] {
        assert_eq!(parse(&scenario.to_toml(), &[]), scenario, "{}", scenario.to_toml());
        let json = scenario.to_json().to_string();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario, "{json}");
    }
}

#[test]
fn sets_are_laid_over_the_file() {
    let scenario = parse(FULL, &["devices.count=7", "unicast.rate=none", "unicast.window=9", "storm=none"]);
    assert_eq!((scenario.devices.count, scenario.storm), (7, None));
    assert_eq!(scenario.unicast.unwrap().pace, Pace::Closed { window: 9 });
    let one = parse(FULL, &["servers={ mode = 'cluster', rooms = 2 }", "servers.rooms=4", "name=other"]);
    assert_eq!((one.name.as_str(), one.servers.rooms()), ("other", Some(4)));
}

#[test]
fn an_external_system_takes_the_place_of_any_servers() {
    let external = External {
        api: vec!["http://a:1".into()],
        dispatcher: "http://d:2".into(),
        product: 7,
        key: "ll_x".into(),
        admin_key: None,
    };
    let own =
        External { product: 0, key: String::new(), admin_key: Some("lla_y".into()), ..external.clone() };
    assert_eq!(parse(FULL, &[&own.to_set(), "storm=none"]).servers, Servers::External(own));
    let sets =
        [&external.to_set(), "devices.route=dispatcher", "devices.tokens=false", "uplink=none", "storm=none"];
    assert_eq!(parse(FULL, &sets).servers, Servers::External(external));
}

#[test]
fn a_reference_doubles_the_length() {
    let alone = parse(SMALL, &[]).length();
    assert_eq!(parse(SMALL, &["reference.rounds=3"]).length(), alone * 6);
}
