//! The summary at the end of a run.

use longline_load_results::{Death, summary};

use crate::made_up::{Plan, gone_wrong, run};

/// The lines, with single spaces.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_good_run_is_told_in_figures() {
    let text = summary(&run(vec![Plan::cluster().leg(), Plan::raw().leg()]));
    let lines = lines(&text);
    for expected in [
        "unicast (3 min 00 s)",
        "figure room raw ratio",
        "memory per session 3,000 B 500 B 6.00×",
        "CPU per connect 90.0 µs 30.0 µs 3.00×",
        "CPU per unicast 13.0 µs 9.00 µs 1.44×",
        "unicasts 2,000 /s 2,000 /s 1.00×",
        "role per session per connect per unicast per broadcast delivery",
        "center 0 B 0 µs 26.0 µs –",
        "load tester 600 B 6.00 µs 6.00 µs",
        "verdict: ok · 70,000 unicasts accepted, 0 deliveries of broadcasts owed · lost 0, duplicated 0, reordered 0, foreign 0, late 0",
        "the load tester kept 0.0120 cores busy against raw",
    ] {
        assert!(lines.iter().any(|line| line == expected), "no «{expected}» in\n{text}");
    }
    assert!(!text.contains("broadcast delivery  "), "a figure that there is not has no line");
    assert!(text.lines().all(|line| line.trim_end() == line));
}

#[test]
fn what_went_wrong_is_told_with_its_reasons() {
    let mut run = gone_wrong(run(vec![Plan::standalone().leg()]));
    run.interrupted = true;
    run.verdict.unjudged = 1;
    run.agents[1].died = Some(Death { reason: "killed by signal 9".into(), ..Death::default() });
    let text = summary(&run);
    for expected in [
        "interrupted: this is about the part that ran",
        "agent-2 died: killed by signal 9; its 5,000 devices are counted out",
        "verdict: NOT OK · ",
        "lost 1, duplicated 2",
        "  1 of 70,000 accepted messages was never received",
        "  1 message was still on the way",
    ] {
        assert!(text.contains(expected), "no «{expected}» in\n{text}");
    }
}

#[test]
fn a_run_of_nothing_has_a_summary() {
    assert!(summary(&run(vec![])).contains("verdict: ok"));
}
