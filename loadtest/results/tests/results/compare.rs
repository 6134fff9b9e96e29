//! Two runs held against each other.

use longline_load_results::{Change, Comparison, Run, compare};

use crate::made_up::{Plan, run};

/// Three rounds in which connecting costs the system's process so much.
fn connecting(us: [f64; 3], beside_raw: bool) -> Run {
    let mut legs = Vec::new();
    for (round, us) in (1..).zip(us) {
        let mut plan = Plan { round, ..Plan::standalone() };
        plan.costs[0].us_per_connect = us;
        legs.push(plan.leg());
        legs.extend(beside_raw.then(|| Plan { round, ..Plan::raw() }.leg()));
    }
    run(legs)
}

fn change(comparison: &Comparison, name: &str) -> Change {
    comparison.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}")).change
}

#[test]
fn only_what_lies_beyond_the_spread_is_better_or_worse() {
    let a = connecting([100.0, 110.0, 120.0], false);
    for (us, expected) in [
        ([121.0, 150.0, 130.0], Change::Worse),
        ([99.0, 90.0, 80.0], Change::Better),
        ([119.0, 150.0, 130.0], Change::Within),
        ([100.0, 110.0, 120.0], Change::Within),
    ] {
        let comparison = compare(&a, &connecting(us, false));
        assert_eq!(change(&comparison, "figures.cpu_us_per_connect"), expected, "{us:?}");
        assert_eq!(change(&comparison, "figures.bytes_per_session"), Change::Within);
    }
}

#[test]
fn less_throughput_is_worse() {
    let fast = run(vec![Plan::standalone().leg()]);
    let slow = run(vec![Plan { unicasts_per_s: 1_000, ..Plan::standalone() }.leg()]);
    let comparison = compare(&fast, &slow);
    assert_eq!(change(&comparison, "figures.unicasts_per_second"), Change::Worse);
    assert_eq!(change(&compare(&slow, &fast), "figures.unicasts_per_second"), Change::Better);
    let named = |threshold| -> Vec<String> {
        comparison.regressions(threshold).into_iter().map(|row| row.name.clone()).collect()
    };
    assert!(named(0.49).contains(&"figures.unicasts_per_second".to_owned()), "{:?}", named(0.49));
    assert!(named(0.51).is_empty(), "{:?}", named(0.51));
}

#[test]
fn a_regression_is_worse_by_more_than_the_threshold() {
    let (a, b) = (connecting([100.0; 3], false), connecting([120.0; 3], false));
    let comparison = compare(&a, &b);
    let regressions = comparison.regressions(0.1);
    assert_eq!(regressions.len(), 1);
    assert_eq!(regressions[0].to_string(), "CPU per connect: 100 µs → 120 µs (1.20×)");
    assert!(comparison.regressions(0.25).is_empty());
    assert!(compare(&b, &a).regressions(0.0).is_empty(), "better is no regression");
}

#[test]
fn where_raw_ran_beside_both_its_ratio_counts() {
    let (a, b) = (connecting([100.0; 3], true), connecting([120.0; 3], true));
    let comparison = compare(&a, &b);
    let names: Vec<&str> = comparison.regressions(0.1).into_iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["ratios.cpu_us_per_connect"]);
    let mixed = compare(&a, &connecting([120.0; 3], false));
    let names: Vec<&str> = mixed.regressions(0.1).into_iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["figures.cpu_us_per_connect"]);
}

#[test]
fn a_figure_that_one_has_is_shown_and_not_judged() {
    let unicasts = run(vec![Plan::standalone().leg()]);
    let broadcasts = run(vec![Plan { unicasts_per_s: 0, broadcast_every_s: 5, ..Plan::standalone() }.leg()]);
    let comparison = compare(&unicasts, &broadcasts);
    assert_eq!(change(&comparison, "figures.cpu_us_per_unicast"), Change::Unknown);
    assert_eq!(change(&comparison, "figures.cpu_us_per_broadcast_delivery"), Change::Unknown);
}

#[test]
fn what_else_differs_is_named() {
    let a = connecting([100.0; 3], false);
    let mut b = a.clone();
    assert!(compare(&a, &b).differences.is_empty());
    b.machine.cpu = "Another".into();
    b.scenario.text =
        "name = \"unicast\"\n# new\n[devices]\ncount = 20000\n\n[[devices.networks]]\nkind = \"wifi\"\n"
            .into();
    assert_eq!(
        compare(&a, &b).differences,
        [
            "cpu: Made-up Processor 9000 | Another",
            "devices.connects_per_second: 500 | –",
            "devices.count: 10000 | 20000",
            "devices.networks.kind: – | \"wifi\"",
        ]
    );
}

#[test]
fn the_table_reads_well() {
    let (mut a, b) = (connecting([100.0; 3], true), connecting([120.0; 3], true));
    a.machine.host = "bench-0".into();
    let text = compare(&a, &b).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "differs: host: bench-0 | bench-1");
    let find = |name: &str| {
        let line =
            lines.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(find("figure"), "figure A B B/A beyond the spread");
    assert_eq!(find("CPU per connect, to raw"), "CPU per connect, to raw 3.33× 4.00× 1.20× WORSE");
    assert_eq!(find("CPU per connect  "), "CPU per connect 100 µs 120 µs 1.20× WORSE");
    assert_eq!(find("memory per session  "), "memory per session 3,000 B 3,000 B 1.00×");
}
