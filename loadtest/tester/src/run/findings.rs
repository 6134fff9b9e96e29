//! What the agents found in a leg, together with what became of the uplinks.

use longline_load_results::Uplinks;
use longline_load_scenario as scenario;
use longline_load_truth::{Allowed, Counts, Example, Fault, Findings as Found, Verdict};

use crate::link::Outcome;

/// Examples of each kind of fault in a report.
const EXAMPLES: usize = 20;

/// Who was there at the end.
#[derive(Clone, Copy, Default)]
pub(crate) struct Devices {
    /// Devices of living agents.
    pub(crate) all: u64,
    /// Those that had not come back.
    pub(crate) offline: u64,
}

/// Of one leg.
#[derive(Default)]
pub(crate) struct Findings {
    found: Found,
    uplinks: Uplinks,
    devices: Devices,
    /// Messages of agents that died, and in a leg that was cut short those on their way: nobody can say what becomes of them.
    unjudged: u64,
}

impl Findings {
    /// Adds up the outcomes of the agents. `orphaned` messages were those of dead agents; `cut` is a leg that had no time for all to
    /// arrive.
    pub(crate) fn gather(
        outcomes: Vec<Outcome>,
        uplinks: Uplinks,
        mut devices: Devices,
        orphaned: u64,
        cut: bool,
    ) -> Findings {
        let mut found = Found::default();
        for outcome in outcomes {
            found.add(outcome.findings, EXAMPLES);
        }
        let mut unjudged = orphaned;
        if cut {
            devices.offline = 0;
            let counts = &mut found.counts;
            unjudged += counts.lost + counts.unreachable;
            (counts.lost, counts.broadcast_missing, counts.unreachable) = (0, 0, 0);
            let on_the_way =
                |what| matches!(what, Fault::Lost | Fault::BroadcastMissing | Fault::Unreachable);
            found.examples.retain(|example| !on_the_way(example.what));
        }
        Findings { found, uplinks, devices, unjudged }
    }

    /// For the leg's record.
    pub(crate) fn counts(&self) -> Counts {
        self.found.counts
    }

    /// For the leg's record.
    pub(crate) fn uplinks(&self) -> Uplinks {
        self.uplinks
    }

    /// The judgement over all legs of the system, with examples.
    pub(crate) fn judge(legs: &[Findings], allowed: &scenario::Verdict) -> (Verdict, Vec<Example>) {
        let (mut all, mut uplinks, mut unjudged) = (Found::default(), Uplinks::default(), 0);
        let mut away = Vec::new();
        for leg in legs {
            all.add(leg.found.clone(), EXAMPLES);
            uplinks.acked += leg.uplinks.acked;
            uplinks.lost += leg.uplinks.lost;
            uplinks.duplicated += leg.uplinks.duplicated;
            unjudged += leg.unjudged;
            let Devices { all, offline } = leg.devices;
            away.extend(
                (offline > 0).then(|| format!("{offline} of {all} devices were not online at the end")),
            );
        }
        let allowed = Allowed {
            duplicated: allowed.duplicated,
            reordered: allowed.reordered,
            foreign: allowed.foreign,
            late: allowed.late,
        };
        let mut verdict =
            Verdict::judge(&all, allowed).with_uplinks(uplinks.acked, uplinks.lost, uplinks.duplicated);
        verdict.unjudged = unjudged;
        verdict.ok &= away.is_empty();
        verdict.reasons.extend(away);
        (verdict, all.examples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(lost: u64, cut: bool) -> Findings {
        let example = Example {
            what: Fault::Lost,
            user: 7,
            id: 1,
            sequence: 2,
            due: 3,
            detail: "never received".to_owned(),
        };
        let found =
            Found { counts: Counts { accepted: 10, lost, ..Counts::default() }, examples: vec![example] };
        let outcome = Outcome::of(found);
        Findings::gather(vec![outcome], Uplinks::default(), Devices { all: 9, offline: 0 }, 0, cut)
    }

    #[test]
    fn a_loss_in_any_leg_fails_the_run_and_is_shown() {
        let (verdict, examples) =
            Findings::judge(&[leg(0, false), leg(3, false)], &scenario::Verdict::default());
        assert!(!verdict.ok);
        assert_eq!((verdict.lost, verdict.unjudged), (3, 0));
        assert_eq!((examples[0].what, examples[0].user), (Fault::Lost, 7));
    }

    #[test]
    fn what_a_cut_leg_had_no_time_for_is_not_judged() {
        let (verdict, examples) = Findings::judge(&[leg(3, true)], &scenario::Verdict::default());
        assert!(verdict.ok, "{verdict:?}");
        assert_eq!((verdict.lost, verdict.unjudged), (0, 3));
        assert!(examples.is_empty());
    }

    #[test]
    fn devices_that_stay_away_fail_the_run() {
        let mut leg = leg(0, false);
        leg.devices.offline = 2;
        let (verdict, _) = Findings::judge(&[leg], &scenario::Verdict::default());
        assert!(!verdict.ok);
        assert_eq!(verdict.reasons, ["2 of 9 devices were not online at the end"]);
    }

    #[test]
    fn lost_uplinks_fail_the_run() {
        let mut leg = leg(0, false);
        leg.uplinks = Uplinks { acked: 5, lost: 1, ..Uplinks::default() };
        let (verdict, _) = Findings::judge(&[leg], &scenario::Verdict::default());
        assert!(!verdict.ok);
        assert_eq!(verdict.uplinks_lost, 1);
    }
}
