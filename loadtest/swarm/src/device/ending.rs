//! Why a connection ends, and when the device comes back.

use longline_types::CloseReason;

use super::{Device, State};
use crate::hostile::Manner;
use crate::time::{Ms, NEVER};
use crate::trouble::Trouble;
use crate::world::Cx;

/// A connection that was welcomed and lasted this long sets the backoff back.
const GOOD_MS: Ms = 10_000;
/// A session that broke is asked for after no longer than this, for the first time.
const PROMPT_MS: Ms = 100;
/// Sent away for good, a real device would wait for its user; these come back after a while.
const SENT_AWAY_MS: (Ms, Ms) = (5_000, 15_000);
/// Who sent rubbish comes back after this.
const RUBBISH_MS: (Ms, Ms) = (2_000, 6_000);
/// No room can make a device wait longer than this.
const LONGEST_ASKED_MS: Ms = 3_600_000;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The room sent CLOSE.
    Closed { reason: u32, retry_after_ms: u32 },
    /// Something went wrong.
    Trouble(Trouble),
    /// The room asked to go elsewhere.
    Moved,
    /// The room refused the bind for good.
    Refused,
    /// Wanted by whoever runs the swarm; back after this wait.
    Dropped { away: Ms },
}

impl Ending {
    /// The last bind was ended with this reason.
    pub(super) fn gone(reason: CloseReason) -> Ending {
        Ending::Closed { reason: reason.number().into(), retry_after_ms: 0 }
    }

    /// Whether the device parts in peace: what it has sent is to arrive.
    pub(crate) fn is_peaceful(self) -> bool {
        matches!(self, Ending::Moved | Ending::Refused | Ending::Trouble(Trouble::Protocol))
    }
}

impl Device {
    /// The connection is over, or could not be made: tells the ledger, counts, and decides when to come back.
    pub(crate) fn ended(&mut self, ending: Ending, cx: &mut Cx) {
        let ending = self.understood(ending, cx);
        let welcomed = self.state.is_welcome();
        self.count(ending, welcomed, cx);
        if welcomed && cx.now.ms.saturating_sub(self.welcomed) >= GOOD_MS {
            self.step = 0;
        }
        self.keep_or_forget(ending, welcomed);
        let wait = self.wait(ending, cx);
        // A connect that failed is still the one that was due then.
        let due = if self.was_bound { cx.after(wait) } else { self.due };
        if std::mem::take(&mut self.was_bound) {
            cx.world.options.ledger.disconnected(self.user, self.connection, cx.now.at);
        }
        self.move_at = NEVER;
        match ending {
            Ending::Refused => self.enter(State::Refused, cx),
            _ => self.come(wait, due, cx),
        }
    }

    /// A room that closes since no bind stands has refused the bind, unless that was asked for.
    fn understood(&self, ending: Ending, cx: &Cx) -> Ending {
        match ending {
            Ending::Closed { reason, .. }
                if reason == u32::from(CloseReason::NoBind.number())
                    && cx.manner(self.manner) != Manner::Rubbish =>
            {
                cx.tally().closed(reason);
                Ending::Refused
            }
            other => other,
        }
    }

    fn count(&mut self, ending: Ending, welcomed: bool, cx: &Cx) {
        match ending {
            Ending::Closed { reason, .. } => cx.tally().closed(reason),
            Ending::Trouble(trouble) => cx.tally().trouble(trouble, welcomed),
            Ending::Refused => cx.tally().refused.add(1),
            Ending::Dropped { .. } => cx.tally().dropped.add(1),
            Ending::Moved => {}
        }
        if elsewhere(ending, welcomed) {
            self.attempt = self.attempt.saturating_add(1);
        }
    }

    fn wait(&mut self, ending: Ending, cx: &mut Cx) -> Ms {
        let manner = cx.manner(self.manner);
        match ending {
            Ending::Dropped { away } => away,
            Ending::Moved | Ending::Refused => 0,
            _ if manner == Manner::Rubbish => cx.chance.between(RUBBISH_MS.0, RUBBISH_MS.1),
            Ending::Closed { reason, .. } if reason >= 2000 => {
                cx.chance.between(SENT_AWAY_MS.0, SENT_AWAY_MS.1)
            }
            Ending::Closed { retry_after_ms, .. } if retry_after_ms > 0 => {
                self.step = self.step.saturating_add(1);
                let asked = retry_after_ms.min(LONGEST_ASKED_MS);
                cx.chance.between(asked, asked * 2)
            }
            Ending::Closed { .. } | Ending::Trouble(_)
                if self.step == 0 && self.room_of_session().is_some() =>
            {
                self.step = 1;
                cx.chance.between(0, PROMPT_MS)
            }
            Ending::Closed { .. } | Ending::Trouble(_) => {
                let wait = cx.chance.backoff(self.step);
                self.step = self.step.saturating_add(1);
                wait
            }
        }
    }
}

/// Whether another room might do better.
fn elsewhere(ending: Ending, welcomed: bool) -> bool {
    const AWAY: [CloseReason; 3] = [CloseReason::GoingAway, CloseReason::Overloaded, CloseReason::Isolated];
    match ending {
        Ending::Closed { reason, .. } => AWAY.iter().any(|away| u32::from(away.number()) == reason),
        Ending::Trouble(trouble) => !welcomed && !trouble.is_ours(),
        _ => false,
    }
}
