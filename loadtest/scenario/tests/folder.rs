//! The scenarios that come with the tester.

use std::path::{Path, PathBuf};
use std::time::Duration;

use longline_load_scenario::{Machine, Scenario};

const NAMES: [&str; 24] = [
    "broadcast",
    "churn",
    "day",
    "hostile",
    "idle",
    "kill_room",
    "million",
    "resume",
    "rolling",
    "room_broadcast",
    "room_connect",
    "room_idle",
    "room_million",
    "room_open",
    "room_small",
    "room_storm",
    "room_unicast",
    "soak",
    "storm",
    "unicast",
    "unicast_batch",
    "unicast_closed",
    "unicast_grpc",
    "uplink",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn load(path: &Path) -> Scenario {
    let machine = Machine { cores: vec![0, 1] };
    let text = std::fs::read_to_string(path).expect("it is there");
    Scenario::parse(path, &text, &[], &machine).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_scenario_is_right_and_named_as_its_file() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let scenario = load(&path);
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{}.toml", scenario.name));
        assert!(!scenario.description.is_empty(), "{}", scenario.name);
        names.push(scenario.name);
    }
    names.sort();
    assert_eq!(names, NAMES);
}

#[test]
fn they_take_about_a_minute_but_for_three() {
    for name in NAMES {
        let scenario = load(&folder().join(format!("{name}.toml")));
        let legs = scenario.rounds() * if scenario.reference.is_some() { 2 } else { 1 };
        // The settle time is a deadline, which a system that is well does not need.
        let length = (scenario.leg() - scenario.phases.settle()) * legs;
        let is_long = ["million", "room_million", "soak"].contains(&name);
        assert_eq!(length > Duration::from_secs(75), is_long, "{name} takes {length:?}");
        // A room alone has all the open files of its process for devices.
        let most =
            if scenario.servers.rooms() == Some(1) && name.starts_with("room_") { 19_000 } else { 10_000 };
        assert!(is_long || scenario.devices.count <= most, "{name}: a process may have 20,000 open files");
    }
}

/// The sets that a file's head recommends work, each line of them together.
#[test]
fn recommended_sets_are_right() {
    for name in NAMES {
        let path = folder().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().take_while(|line| line.starts_with('#'));
        let lines: Vec<&str> = lines.filter(|line| line.contains("--set ")).collect();
        assert!(!lines.is_empty(), "{name} recommends nothing");
        for line in lines {
            let sets: Vec<String> = line.split("--set ").skip(1).map(value).collect();
            // What is said to go with the line before.
            let sets = if line.ends_with("beside that") { [cluster(), sets].concat() } else { sets };
            let machine = Machine { cores: vec![0, 1] };
            Scenario::parse(&path, &text, &sets, &machine).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

fn cluster() -> Vec<String> {
    ["servers.mode=cluster", "servers.rooms=3"].map(str::to_owned).to_vec()
}

/// One set as a shell would read it.
fn value(text: &str) -> String {
    match text.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next().unwrap_or_default().to_owned(),
        None => text.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}
