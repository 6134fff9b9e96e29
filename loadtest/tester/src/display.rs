//! What is shown while a run goes on: a picture that renews itself on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use longline_load_results::{PhaseName, Sample, Side, TESTER};
use tokio::time::Instant;

/// Without a terminal, a line is written this often.
const LINE: Duration = Duration::from_secs(5);
/// Rates are of at least so many seconds: samples at the edges of phases lie close together.
const RATE_S: f64 = 0.4;

/// Writes to stderr, so that stdout holds only the result.
pub(crate) struct Display {
    view: View,
    phase: String,
    begun: Instant,
    planned: Option<Duration>,
    before: Option<Sample>,
}

enum View {
    Terminal { all: MultiProgress, phase: ProgressBar, figures: ProgressBar },
    Lines { last: Option<Instant> },
    Nothing,
}

impl Display {
    /// For the terminal if there is one; nothing but notes if `quiet`.
    pub(crate) fn new(quiet: bool) -> Display {
        let view = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => View::Nothing,
            (false, true) => terminal(),
            (false, false) => View::Lines { last: None },
        };
        Display { view, phase: String::new(), begun: Instant::now(), planned: None, before: None }
    }

    /// A line that stays.
    pub(crate) fn note(&self, text: &str) {
        match &self.view {
            View::Terminal { all, .. } => {
                // A terminal that is gone is no reason to end a run.
                let _ = all.println(text);
            }
            View::Lines { .. } | View::Nothing => eprintln!("{text}"),
        }
    }

    /// A phase begins; `planned` is how long it will take at the most, where that is known.
    pub(crate) fn phase(&mut self, side: Side, round: u32, phase: PhaseName, planned: Option<Duration>) {
        self.phase = format!("{side} {round} · {phase}");
        (self.begun, self.planned) = (Instant::now(), planned);
        if let View::Lines { last } = &mut self.view {
            *last = None;
        }
        if phase == PhaseName::Ramp {
            self.before = None;
        }
    }

    /// How it goes now.
    pub(crate) fn show(&mut self, now: &Sample, devices: u64) {
        let lies_close = |before: &Sample| now.at_s - before.at_s < RATE_S && now.at_s > before.at_s;
        if self.before.as_ref().is_some_and(lies_close) {
            return;
        }
        let figures = figures(now, self.before.as_ref(), devices);
        let elapsed = self.begun.elapsed();
        match &mut self.view {
            View::Terminal { phase, figures: lines, .. } => {
                let length = self.planned.map_or(elapsed, |planned| planned.max(elapsed));
                phase.set_length(length.as_millis() as u64);
                phase.set_position(elapsed.as_millis() as u64);
                phase.set_message(self.phase.clone());
                phase.set_prefix(format!("{:.0}/{:.0} s", elapsed.as_secs_f64(), length.as_secs_f64()));
                lines.set_message(figures.join("\n"));
            }
            View::Lines { last } if last.is_none_or(|last| last.elapsed() >= LINE) => {
                *last = Some(Instant::now());
                eprintln!("{:<20} {:>4.0} s  {}", self.phase, elapsed.as_secs_f64(), figures.join(" | "));
            }
            View::Lines { .. } | View::Nothing => {}
        }
        self.before = Some(now.clone());
    }

    /// Clears what renews itself.
    pub(crate) fn end(&self) {
        if let View::Terminal { all, .. } = &self.view {
            // As above.
            let _ = all.clear();
        }
    }
}

fn terminal() -> View {
    let all = MultiProgress::new();
    let phase = all.add(ProgressBar::new(1));
    let style = ProgressStyle::with_template("{msg:<22} {wide_bar:.cyan/dim} {prefix}");
    phase.set_style(style.expect("a template that is right"));
    let figures = all.add(ProgressBar::new(1));
    figures.set_style(ProgressStyle::with_template("{msg}").expect("a template that is right"));
    View::Terminal { all, phase, figures }
}

/// Lines of what is to be known, without line ends.
fn figures(now: &Sample, before: Option<&Sample>, devices: u64) -> Vec<String> {
    let zero = Sample::default();
    let before = before.unwrap_or(&zero);
    let seconds = (now.at_s - before.at_s).max(0.001);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let mut lines = vec![format!(
        "connected {} of {devices}  {:.0}/s  failed {}  errors {}",
        now.connected,
        rate(now.connects, before.connects),
        now.connect_failures,
        now.errors
    )];
    if now.planned > 0 || now.broadcast_deliveries > 0 || now.uplinks > 0 {
        lines.push(format!(
            "a second: due {:.0}  accepted {:.0}  received {:.0}  acked {:.0}  broadcast {:.0} ({} in all)  uplinks {:.0}",
            rate(now.planned, before.planned),
            rate(now.accepted, before.accepted),
            rate(now.received, before.received),
            rate(now.acked, before.acked),
            rate(now.broadcast_deliveries, before.broadcast_deliveries),
            now.broadcast_deliveries,
            rate(now.uplinks, before.uplinks),
        ));
    }
    if let Some(received) = &now.received_us {
        let ms = |us: u64| us as f64 / 1000.0;
        lines.push(format!(
            "due to received: p50 {:.1} ms  p99 {:.1} ms  p99.9 {:.1} ms",
            ms(received.p50),
            ms(received.p99),
            ms(received.p999)
        ));
    }
    let resident = |tester: bool| -> u64 {
        now.processes.iter().filter(|p| (p.role == TESTER) == tester).map(|p| p.rss_bytes).sum()
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    lines.push(format!(
        "memory: servers {:.0} MiB  tester {:.0} MiB",
        mib(resident(false)),
        mib(resident(true))
    ));
    lines
}

#[cfg(test)]
mod tests {
    use longline_load_results::Percentiles;

    use super::*;

    #[test]
    fn rates_are_of_the_time_since_the_sample_before() {
        let before = Sample { at_s: 1.0, connects: 100, planned: 10, ..Sample::default() };
        let received_us = Some(Percentiles { p50: 1_500, ..Percentiles::default() });
        let now = Sample {
            at_s: 3.0,
            connected: 500,
            connects: 500,
            planned: 30,
            received_us,
            ..Sample::default()
        };
        let lines = figures(&now, Some(&before), 1_000);
        assert!(lines[0].starts_with("connected 500 of 1000  200/s"), "{lines:?}");
        assert!(lines[1].starts_with("a second: due 10 "), "{lines:?}");
        assert!(lines[2].starts_with("due to received: p50 1.5 ms"), "{lines:?}");
    }

    #[test]
    fn only_what_happens_is_shown() {
        let lines = figures(&Sample::default(), None, 10);
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
