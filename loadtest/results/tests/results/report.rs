//! The page: whole, self-contained, and nothing in it that somebody else wrote as HTML.

use longline_load_results::{Death, Leg, Run, Side, html};

use crate::made_up::{Plan, gone_wrong, run};

fn rounds(rounds: u32) -> Run {
    let legs = (1..=rounds).flat_map(|round| {
        let system = Plan { round, noise: 0.06, ..Plan::cluster() };
        let raw = Plan { round, noise: 0.06, ..Plan::raw() };
        [raw.leg(), system.leg()]
    });
    run(legs.collect())
}

/// Pages to look at, in cargo's folder for such things.
#[test]
fn pages_to_look_at_are_written() {
    let good = rounds(3);
    let mut bad =
        gone_wrong(run(vec![Plan { broadcast_every_s: 5, noise: 0.1, ..Plan::standalone() }.leg()]));
    bad.interrupted = true;
    bad.agents[1].died =
        Some(Death { side: Side::System, round: 1, at_s: 31.5, reason: "killed by signal 9".into() });
    bad.legs[0].series.drain(30..36);
    for (name, run) in [("good", good), ("bad", bad)] {
        let page = html(&run);
        std::fs::write(format!("{}/report-{name}.html", env!("CARGO_TARGET_TMPDIR")), &page).unwrap();
        assert!(page.len() > 20_000 && page.ends_with("</html>"), "{name}: {} bytes", page.len());
    }
}

#[test]
fn the_verdict_is_on_top_in_words() {
    let good = html(&rounds(1));
    assert!(good.contains("Every message is accounted for") && !good.contains("Messages went wrong"));
    let bad = html(&gone_wrong(rounds(1)));
    assert!(
        bad.contains("Messages went wrong")
            && bad.contains("1 of 70,000 accepted messages was never received")
    );
    let (verdict, figures) = (bad.find("class=\"verdict bad\"").unwrap(), bad.find("Key figures").unwrap());
    assert!(verdict < figures);
    assert!(bad.contains("accepted by center-1 and never received"), "examples are shown");
}

#[test]
fn figures_stand_beside_their_ratios_and_reasons() {
    let page = html(&run(vec![Plan::cluster().leg(), Plan::raw().leg()]));
    for text in
        ["3,000 B", "6.00× raw", "there were no broadcast deliveries in the measured phase", "the rooms"]
    {
        assert!(page.contains(text) || text == "{text}");
    }
    for title in ["Connections", "Messages", "Delay of unicasts", "Memory", "CPU", "Failures"] {
        assert_eq!(page.matches(&format!("<b>{title}</b>")).count(), 2, "{title}, of both legs");
    }
}

#[test]
fn what_comes_from_outside_is_escaped() {
    let evil = "<script>alert(1)</script>\"'&";
    let mut run = gone_wrong(rounds(1));
    for text in [
        &mut run.scenario.name,
        &mut run.scenario.description,
        &mut run.scenario.mode,
        &mut run.scenario.text,
        &mut run.machine.host,
        &mut run.machine.cpu,
        &mut run.tester_version,
        &mut run.figures.of,
        &mut run.agents[0].name,
        &mut run.servers[0].version,
        &mut run.verdict.reasons[0],
        &mut run.examples[0].detail,
        &mut run.legs[0].series[3].processes[0].name,
    ] {
        *text = evil.into();
    }
    run.legs[0].series[3].processes[0].role = evil.into();
    run.scenario.overrides = vec![evil.into()];
    run.agents[1].died = Some(Death { reason: evil.into(), ..Death::default() });
    run.figures.values.bytes_per_session = None;
    run.figures.values.absent.insert("bytes_per_session".into(), evil.into());
    for leg in &mut run.legs {
        leg.errors.insert(evil.into(), 1);
        leg.closes.insert(evil.into(), 1);
        leg.series[3].metrics.insert(evil.into(), 1.0);
    }
    let page = html(&run);
    assert!(!page.contains("<script"), "{}", page.split("<script").nth(1).unwrap_or_default());
    assert!(page.matches("&#60;script&#62;").count() >= 20, "{}", page.matches("&#60;script&#62;").count());
}

#[test]
fn the_page_asks_for_nothing() {
    let page = html(&rounds(1));
    for text in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(text), "{text}");
    }
    assert!(page.contains("default-src 'none'"), "and browsers are told so");
}

#[test]
fn a_run_of_nothing_has_a_page() {
    let mut empty = run(vec![]);
    empty.scenario.description.clear();
    assert!(html(&empty).contains("No messages were sent."));
    assert!(html(&run(vec![Leg::default()])).contains("</html>"));
    let mut odd = rounds(1);
    odd.legs[0].phases.reverse();
    odd.legs[0].series.reverse();
    assert!(html(&odd).contains("</html>"));
}

#[test]
fn a_long_run_makes_no_long_page() {
    let mut leg = Plan { measured_s: 4_000, ..Plan::standalone() }.leg();
    leg.series.iter_mut().for_each(|sample| sample.metrics.clear());
    let page = html(&run(vec![leg]));
    assert!(page.len() < 250_000, "{} bytes", page.len());
}
