//! Figures of made-up legs, where the right answer is known.

use longline_load_results::{Death, Leg, PhaseName, Run, Side};

use crate::made_up::{Plan, run};

#[track_caller]
fn near(value: Option<f64>, expected: f64, share: f64) {
    let value = value.unwrap_or_else(|| panic!("absent, expected {expected}"));
    assert!((value - expected).abs() <= share * expected.abs(), "{value}, expected {expected}");
}

fn get(run: &Run, name: &str) -> Option<f64> {
    run.figures.values.get(name)
}

fn absent<'a>(run: &'a Run, name: &str) -> &'a str {
    assert_eq!(get(run, name), None, "{name}");
    run.figures.values.absent.get(name).unwrap_or_else(|| panic!("no reason for {name}"))
}

#[test]
fn a_clean_leg_gives_what_was_put_in() {
    let run = run(vec![Plan::standalone().leg()]);
    assert_eq!((run.figures.of.as_str(), run.figures.legs), ("standalone", 1));
    near(get(&run, "bytes_per_session"), 3_000.0, 0.001);
    near(get(&run, "cpu_us_per_connect"), 120.0, 0.001);
    // What the process uses without devices is part of the measured phase: 2,000 µs a second over 2,000 unicasts a second.
    near(get(&run, "cpu_us_per_unicast"), 61.0, 0.001);
    near(get(&run, "unicasts_per_second"), 2_000.0, 0.001);
    near(get(&run, "connects_per_second"), 500.0, 0.001);
    assert!(absent(&run, "cpu_us_per_broadcast_delivery").contains("no broadcast deliveries"));
    assert!(run.ratios.is_none() && run.reference.is_none());
    let fit = run.figures.memory_fit.unwrap();
    assert!(fit.residual_bytes < 2.0 && (fit.base_bytes - 40e6).abs() < 10.0, "{fit:?}");
    assert!(fit.points >= 19, "{fit:?}");
}

#[test]
fn rooms_are_summed_and_other_roles_told_apart() {
    let run = run(vec![Plan::cluster().leg()]);
    assert_eq!(run.figures.of, "room");
    near(get(&run, "bytes_per_session"), 3_000.0, 0.001);
    near(get(&run, "cpu_us_per_connect"), 90.0, 0.001);
    near(get(&run, "roles.dispatcher.cpu_us_per_connect"), 15.0, 0.001);
    near(get(&run, "roles.mariadb.cpu_us_per_unicast"), 46.0, 0.001);
    near(get(&run, "roles.all.bytes_per_session"), 3_250.0, 0.001);
    near(get(&run, "roles.all.cpu_us_per_unicast"), 126.0 + 9.0, 0.001);
    assert_eq!(get(&run, "roles.tester.cpu_us_per_unicast"), None, "the tester is no server");
    near(run.own.cpu_us_per_delivery, 7.0, 0.001);
    near(run.own.bytes_per_device, 600.0, 0.001);
    near(run.own.cores, 0.014, 0.001);
}

#[test]
fn batches_are_those_of_the_measured_phase_and_effort_is_told() {
    let mut leg = Plan::cluster().leg();
    let measured = leg.phase(PhaseName::Measured).unwrap();
    for sample in &mut leg.series {
        // Of ten before the phase, of a hundred in it.
        let before = sample.at_s.min(measured.from_s);
        let within = (sample.at_s - measured.from_s).max(0.0);
        for (role, method) in [("center", "room.deliver"), ("room", "saver.ack")] {
            let mut count = |what: &str, value: f64| {
                sample.metrics.insert(format!("{role}.rpc_batch_items_{what}.{method}"), value)
            };
            count("count", before + within);
            count("sum", 10.0 * before + 100.0 * within);
        }
        // Slow before the phase, and in it all between one and two milliseconds.
        for (bound, below) in [("0.001", 0.0), ("0.002", within), ("+Inf", 9.0 * before + within)] {
            sample.metrics.insert(format!("room.delivery_seconds_bucket.{bound}"), below);
        }
    }
    let run = run(vec![leg, Plan::raw().leg()]);
    near(get(&run, "in_room_us.p50"), 1_500.0, 0.001);
    near(get(&run, "in_room_us.p999"), 1_999.0, 0.001);
    near(get(&run, "deliveries_per_batch"), 100.0, 0.001);
    near(get(&run, "acks_per_batch"), 100.0, 0.001);
    // Three rooms: 2,000 unicasts a second of 12 µs, and 2,000 µs that each uses anyway.
    near(get(&run, "cores"), 0.024 + 0.002, 0.001);
    assert!(run.ratios.unwrap().values.deliveries_per_batch.is_none());
    assert!(run.reference.unwrap().values.absent["acks_per_batch"].contains("no batches"));
}

#[test]
fn transient_messages_cost_by_what_was_received() {
    let mut leg = Plan::standalone().leg();
    leg.series.iter_mut().for_each(|sample| sample.acked = 0);
    near(get(&run(vec![leg]), "cpu_us_per_unicast"), 61.0, 0.001);
}

#[test]
fn noise_is_averaged_out() {
    let legs = (1..=3).map(|round| Plan { noise: 0.05, round, ..Plan::standalone() }.leg());
    let run = run(legs.collect());
    near(get(&run, "bytes_per_session"), 3_000.0, 0.03);
    let spread = run.figures.values.spread["bytes_per_session"];
    let median = get(&run, "bytes_per_session").unwrap();
    assert!(spread.min < median && median < spread.max, "{spread:?}");
    assert!(run.figures.memory_fit.unwrap().residual_bytes > 1_000.0);
}

#[test]
fn ratios_are_medians_over_rounds() {
    let factors = [(1, 1.0), (2, 3.0), (3, 1.5)];
    let mut legs = Vec::new();
    for (round, factor) in factors {
        let mut system = Plan { round, ..Plan::standalone() };
        system.costs[0].us_per_connect *= factor;
        legs.extend([Plan { round, ..Plan::raw() }.leg(), system.leg()]);
    }
    let run = run(legs);
    let ratios = run.ratios.unwrap();
    assert_eq!(ratios.rounds, 3);
    near(ratios.values.bytes_per_session, 6.0, 0.001);
    near(ratios.values.cpu_us_per_connect, 6.0, 0.001);
    near(ratios.values.cpu_us_per_unicast, 61.0 / 9.0, 0.001);
    near(ratios.values.latency_us.p50, 5.0, 0.02);
    let spread = ratios.values.spread["cpu_us_per_connect"];
    near(Some(spread.min), 4.0, 0.001);
    near(Some(spread.max), 12.0, 0.001);
    assert!(ratios.values.absent["cpu_us_per_broadcast_delivery"].contains("no broadcast"));
    near(run.reference.unwrap().values.cpu_us_per_connect, 30.0, 0.001);
    assert_eq!(run.own.side, Side::Raw);
    near(run.own.cpu_us_per_delivery, 6.0, 0.001);
}

#[test]
fn a_role_is_held_against_all_of_raw() {
    let run = run(vec![Plan::cluster().leg(), Plan::raw().leg()]);
    near(run.ratios.unwrap().values.roles["center"].cpu_us_per_unicast, 26.0 / 9.0, 0.001);
}

#[test]
fn rounds_without_their_other_side_give_no_ratio() {
    let run = run(vec![Plan::standalone().leg(), Plan { round: 2, ..Plan::raw() }.leg()]);
    let ratios = run.ratios.unwrap();
    assert_eq!((ratios.rounds, ratios.values.cpu_us_per_connect), (0, None));
    assert!(ratios.values.absent["cpu_us_per_connect"].contains("no round"));
}

#[test]
fn broadcasts_alone_have_their_cost() {
    let run = run(vec![Plan { unicasts_per_s: 0, broadcast_every_s: 5, ..Plan::standalone() }.leg()]);
    // Six broadcasts to 10,000 devices in 30 s, and the 60,000 µs that the process uses anyway.
    near(get(&run, "cpu_us_per_broadcast_delivery"), 5.0, 0.001);
    assert!(absent(&run, "cpu_us_per_unicast").contains("no unicasts"));
    assert!(absent(&run, "latency_us.p99").contains("no unicast"));
    assert_eq!(absent(&run, "unicasts_per_second"), "no unicasts were sent");
}

#[test]
fn a_mixed_phase_gives_no_cost_and_says_why() {
    let run = run(vec![Plan { broadcast_every_s: 5, ..Plan::standalone() }.leg()]);
    assert!(absent(&run, "cpu_us_per_unicast").contains("60000 broadcast deliveries"));
    assert!(absent(&run, "cpu_us_per_broadcast_delivery").contains("60000 unicasts"));
    near(get(&run, "unicasts_per_second"), 2_000.0, 0.001);
}

/// A leg in which the room's process starts anew with each of these samples.
fn restarted(mut leg: Leg, at: &[usize]) -> Leg {
    for &from in at {
        let base = leg.series[from - 1].processes[0].cpu_us;
        for sample in &mut leg.series[from..] {
            sample.processes[0].cpu_us -= base;
            sample.processes[0].pid += 1;
        }
    }
    leg
}

#[test]
fn a_process_that_starts_anew_still_costs_what_it_costs() {
    let run = run(vec![restarted(Plan::standalone().leg(), &[10, 35])]);
    near(get(&run, "cpu_us_per_connect"), 120.0, 0.001);
    near(get(&run, "cpu_us_per_unicast"), 61.0, 0.001);
}

#[test]
fn a_missing_sample_changes_nothing() {
    let mut plan = Plan::cluster();
    plan.sessions = 9_000;
    let mut leg = plan.leg();
    leg.series[8].processes.retain(|process| process.name != "room-2");
    leg.series[30].processes.clear();
    leg.series.remove(15);
    let run = run(vec![leg]);
    near(get(&run, "bytes_per_session"), 3_000.0, 0.001);
    near(get(&run, "cpu_us_per_connect"), 90.0, 0.001);
    near(get(&run, "cpu_us_per_unicast"), 13.0, 0.001);
}

#[test]
fn a_ramp_of_a_moment_has_no_slope() {
    let run = run(vec![Plan { ramp_s: 1, ..Plan::standalone() }.leg()]);
    assert!(absent(&run, "bytes_per_session").contains("too short"));
    near(get(&run, "connects_per_second"), 10_000.0, 0.001);
}

#[test]
fn memory_after_the_first_traffic_does_not_count() {
    let mut leg = Plan::standalone().leg();
    leg.series
        .iter_mut()
        .filter(|sample| sample.planned > 0)
        .for_each(|sample| sample.processes[0].rss_bytes *= 3);
    near(get(&run(vec![leg]), "bytes_per_session"), 3_000.0, 0.001);
}

#[test]
fn memory_after_sessions_fell_does_not_count() {
    let mut leg = Plan { unicasts_per_s: 0, ..Plan::standalone() }.leg();
    // Half the devices go, and the process keeps what it has.
    leg.series.iter_mut().filter(|sample| sample.at_s > 35.0).for_each(|sample| sample.connected /= 2);
    near(get(&run(vec![leg]), "bytes_per_session"), 3_000.0, 0.001);
}

#[test]
fn samples_that_lack_a_process_for_long_do_not_count() {
    let mut leg = Plan { sessions: 9_000, ..Plan::cluster() }.leg();
    leg.series[12..17]
        .iter_mut()
        .for_each(|sample| sample.processes.retain(|process| process.name != "room-2"));
    let run = run(vec![leg]);
    near(get(&run, "bytes_per_session"), 3_000.0, 0.001);
    assert!(run.figures.memory_fit.is_some_and(|fit| fit.residual_bytes < 2.0));
}

#[test]
fn delays_are_of_all_legs_merged() {
    let legs = [(1, 1_000), (2, 10_000)]
        .map(|(round, delay_us)| Plan { round, delay_us, ..Plan::standalone() }.leg());
    let [mut merged, slow] =
        legs.each_ref().map(|leg| leg.measured.received.as_ref().unwrap().decode().unwrap());
    merged.auto(true);
    merged.add(&slow).unwrap();
    let run = run(legs.into());
    assert_eq!(get(&run, "latency_us.p50"), Some(merged.value_at_quantile(0.5) as f64));
    assert_eq!(get(&run, "latency_us.p999"), Some(merged.value_at_quantile(0.999) as f64));
    let spread = run.figures.values.spread["latency_us.p50"];
    assert!(spread.max > 9.0 * spread.min, "{spread:?}");
}

#[test]
fn an_interrupted_leg_gives_what_it_has() {
    let mut leg = Plan::standalone().leg();
    leg.phases.truncate(1);
    leg.phases[0].to_s = 12.0;
    leg.series.truncate(13);
    leg.measured = Default::default();
    let run = run(vec![leg]);
    near(get(&run, "bytes_per_session"), 3_000.0, 0.001);
    near(get(&run, "cpu_us_per_connect"), 120.0, 0.001);
    assert_eq!(absent(&run, "unicasts_per_second"), "there was no measured phase");
    assert_eq!(run.own.absent["cores"], "there was no measured phase");
}

#[test]
fn nothing_at_all_is_no_panic() {
    let mut runs = vec![run(vec![]), run(vec![Leg::default()])];
    let mut leg = Plan::standalone().leg();
    leg.phases.iter_mut().for_each(|phase| phase.to_s = phase.from_s);
    leg.measured.received.as_mut().unwrap().histogram = "rubbish".into();
    runs.push(run(vec![leg]));
    let mut leg = Plan::standalone().leg();
    leg.series.truncate(1);
    runs.push(run(vec![leg]));
    for run in runs {
        for (name, value) in run.figures.values.named() {
            assert!(value.is_none_or(f64::is_finite), "{name}");
        }
    }
}

#[test]
fn servers_elsewhere_and_agents_elsewhere_are_said() {
    let mut leg = Plan::standalone().leg();
    leg.series.iter_mut().for_each(|sample| sample.processes.clear());
    let mut run = run(vec![leg]);
    assert!(absent(&run, "cpu_us_per_connect").contains("no server process"));
    near(get(&run, "connects_per_second"), 500.0, 0.001);
    run.agents[0].remote = Some("10.0.0.2:7700".into());
    run.agents[0].died = Some(Death { reason: "the connection broke".into(), ..Death::default() });
    run.conclude();
    assert!(run.own.absent["cores"].contains("other machines"));
    near(run.own.deliveries_per_second, 2_000.0, 0.001);
}

#[test]
fn phases_are_found_by_name() {
    let leg = Plan::standalone().leg();
    assert_eq!(leg.phase(PhaseName::Measured).unwrap().length_s(), 30.0);
    assert_eq!(Leg::default().phase(PhaseName::Ramp), None);
}
