//! The judgement over a run.

use serde::{Deserialize, Serialize};

use crate::Findings;

/// How many faults are let through. A loss never is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allowed {
    /// Second receipts without need.
    pub duplicated: u64,
    /// Messages out of order.
    pub reordered: u64,
    /// Receipts that should not have been.
    pub foreign: u64,
    /// Receipts after expiry.
    pub late: u64,
}

/// Whether a run was right, and if not, why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Nothing was lost, nothing stayed unproven, and no fault was counted more often than allowed.
    pub ok: bool,
    /// Unicasts and deliveries of broadcasts that should have been received and were not.
    pub lost: u64,
    /// Of the lost ones: deliveries of broadcasts.
    pub broadcast_missing: u64,
    /// Not received, by users who were not there at the end: neither lost nor proved.
    pub unreachable: u64,
    /// Second receipts without need.
    pub duplicated: u64,
    /// Messages out of order.
    pub reordered: u64,
    /// Receipts that should not have been.
    pub foreign: u64,
    /// Receipts after expiry.
    pub late: u64,
    /// Uplinks that the room acknowledged and the business never got.
    pub uplinks_lost: u64,
    /// Uplinks that the business got more than once. Delivery to it is at least once, so this is no fault.
    pub uplinks_duplicated: u64,
    /// What was on its way when the run was interrupted, or belonged to an agent that died. Given from outside; neither lost nor
    /// proved, and no reason against the run by itself.
    pub unjudged: u64,
    /// A sentence for each thing that is not right; empty if `ok`.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Judges what was found.
    pub fn judge(findings: &Findings, allowed: Allowed) -> Verdict {
        let counts = &findings.counts;
        let mut reasons = Vec::new();
        let unicasts = counts.lost.saturating_sub(counts.broadcast_missing);
        if unicasts > 0 {
            let accepted = number(counts.accepted);
            reasons.push(format!(
                "{} of {accepted} accepted messages {} never received",
                number(unicasts),
                were(unicasts)
            ));
        }
        if counts.broadcast_missing > 0 {
            let (missing, expected) = (counts.broadcast_missing, number(counts.broadcast_expected));
            reasons.push(format!(
                "{} of {expected} deliveries of broadcasts {} missing",
                number(missing),
                were(missing)
            ));
        }
        if counts.unreachable > 0 {
            let count = number(counts.unreachable);
            reasons.push(format!(
                "{count} deliveries could not be checked, since their users were not online at the end, or had only just come back"
            ));
        }
        let mut limit = |count: u64, allowed: u64, what: &str| {
            if count > allowed {
                let allowance =
                    if allowed == 0 { String::new() } else { format!(" ({} allowed)", number(allowed)) };
                reasons.push(format!("{} {} {what}{allowance}", number(count), were(count)));
            }
        };
        limit(counts.duplicated, allowed.duplicated, "received again without need");
        limit(counts.reordered, allowed.reordered, "received out of order");
        limit(counts.foreign, allowed.foreign, "received that should not have been");
        limit(counts.late, allowed.late, "received after expiry");
        Verdict {
            ok: reasons.is_empty(),
            lost: counts.lost,
            broadcast_missing: counts.broadcast_missing,
            unreachable: counts.unreachable,
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            foreign: counts.foreign,
            late: counts.late,
            uplinks_lost: 0,
            uplinks_duplicated: 0,
            unjudged: 0,
            reasons,
        }
    }

    /// Adds what became of the uplinks, which are checked elsewhere. Lost ones make the verdict false.
    #[must_use]
    pub fn with_uplinks(mut self, acked: u64, lost: u64, duplicated: u64) -> Verdict {
        self.uplinks_lost = lost;
        self.uplinks_duplicated = duplicated;
        if lost > 0 {
            let (count, acked) = (number(lost), number(acked));
            self.reasons.push(format!("{count} of {acked} acknowledged uplinks never reached the business"));
            self.ok = false;
        }
        self
    }
}

fn were(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// With commas between the thousands.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counts;

    fn judge(counts: Counts, allowed: Allowed) -> Verdict {
        Verdict::judge(&Findings { counts, examples: Vec::new() }, allowed)
    }

    #[test]
    fn nothing_wrong_is_ok() {
        let counts = Counts { accepted: 5, received: 5, redelivered: 3, expired: 2, ..Counts::default() };
        let verdict = judge(counts, Allowed::default());
        assert_eq!(verdict, Verdict { ok: true, ..Verdict::default() });
    }

    #[test]
    fn a_loss_is_named_with_its_share() {
        let counts = Counts {
            accepted: 120_000,
            lost: 38,
            broadcast_missing: 1,
            broadcast_expected: 1_000_000,
            ..Counts::default()
        };
        let verdict = judge(counts, Allowed { duplicated: 99, reordered: 99, foreign: 99, late: 99 });
        assert!(!verdict.ok);
        assert_eq!((verdict.lost, verdict.broadcast_missing), (38, 1));
        let expected = [
            "37 of 120,000 accepted messages were never received",
            "1 of 1,000,000 deliveries of broadcasts was missing",
        ];
        assert_eq!(verdict.reasons, expected);
    }

    #[test]
    fn what_could_not_be_checked_is_not_ok() {
        let verdict = judge(Counts { unreachable: 1_234, ..Counts::default() }, Allowed::default());
        assert!(!verdict.ok && verdict.lost == 0);
        assert!(
            verdict.reasons[0].starts_with("1,234 deliveries could not be checked"),
            "{:?}",
            verdict.reasons
        );
    }

    #[test]
    fn faults_are_let_through_up_to_the_number_allowed() {
        let counts = Counts { duplicated: 3, reordered: 3, foreign: 3, late: 3, ..Counts::default() };
        assert!(judge(counts, Allowed { duplicated: 3, reordered: 3, foreign: 3, late: 3 }).ok);
        let verdict = judge(counts, Allowed { duplicated: 2, reordered: 0, foreign: 3, late: 3 });
        assert!(!verdict.ok);
        assert_eq!(
            verdict.reasons,
            ["3 were received again without need (2 allowed)", "3 were received out of order"]
        );
        assert_eq!(judge(counts, Allowed::default()).reasons.len(), 4);
    }

    #[test]
    fn lost_uplinks_fail_the_run_and_repeated_ones_do_not() {
        let green = judge(Counts::default(), Allowed::default());
        assert!(green.clone().with_uplinks(10, 0, 4).ok);
        let red = green.with_uplinks(1_000, 2, 0);
        assert!(!red.ok && red.uplinks_lost == 2);
        assert_eq!(red.reasons, ["2 of 1,000 acknowledged uplinks never reached the business"]);
    }
}
