//! Why a session ends.

use longline_pb::client::{self, BindResult};
use longline_types::CloseReason;
use longline_wire::WireError;

use super::turn::{Env, Now};
use crate::admission::Refusal;

/// Longest explanation in a frame, in bytes.
const DETAIL: usize = 200;

/// The session is over; the device is told with a CLOSE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    pub(crate) detail: String,
    /// For reasons that allow to come back.
    pub(crate) retry_after_ms: u32,
}

/// The wait that a device is told when nothing better is known.
pub(crate) const RETRY_AFTER_MS: u32 = 5_000;
/// The wait of a device whose address may not connect: it may have another one then, or the list may be shorter.
const DENIED_FOR_MS: u32 = 600_000;

impl Ending {
    pub(crate) fn new(reason: CloseReason, detail: impl Into<String>) -> Ending {
        let retry_after_ms = match reason {
            CloseReason::Overloaded | CloseReason::Isolated | CloseReason::SlowReader => RETRY_AFTER_MS,
            CloseReason::Denied => DENIED_FOR_MS,
            _ => 0,
        };
        Ending { reason, detail: shortened(detail.into()), retry_after_ms }
    }

    /// No session may begin now; it may in so many microseconds, if that is known (else 0).
    pub(crate) fn refused(refusal: Refusal, wait_us: u64, now: Now, env: &mut Env) -> Ending {
        let overloaded = CloseReason::Overloaded;
        match refusal {
            Refusal::Draining => {
                Ending::new(env.draining.unwrap_or(CloseReason::GoingAway), "this room is being emptied")
            }
            Refusal::Denied => Ending::new(CloseReason::Denied, "this address may not connect here"),
            Refusal::PerIpConnections => Ending::new(overloaded, "this address has too many connections"),
            Refusal::PerIpRate => {
                let wait_ms = wait_us.div_ceil(1000).try_into().unwrap_or(u32::MAX);
                Ending::new(overloaded, "this address connects too often").retrying_after(wait_ms)
            }
            Refusal::Overloaded
            | Refusal::HelloRate
            | Refusal::Sessions
            | Refusal::Unauthenticated
            | Refusal::Memory
            | Refusal::OpenFiles => {
                let wait_ms = env.storm.appointment_ms(&env.limits, &mut env.jitter, now.us());
                Ending::new(overloaded, "this room takes no more sessions now").retrying_after(wait_ms)
            }
        }
    }

    fn retrying_after(self, wait_ms: u32) -> Ending {
        Ending { retry_after_ms: wait_ms, ..self }
    }

    /// None of the binds of HELLO stands: what the last of them was refused with decides what the device should do.
    pub(crate) fn without_bind(refused: &client::Bound) -> Ending {
        let reason = match refused.result() {
            BindResult::Unavailable => CloseReason::Overloaded,
            BindResult::Stale | BindResult::Displaced => CloseReason::Displaced,
            BindResult::Kicked => CloseReason::Kicked,
            _ => CloseReason::NoBind,
        };
        let mut ending = Ending::new(reason, refused.detail.clone());
        if reason.may_return() && refused.retry_after_ms > 0 {
            ending.retry_after_ms = refused.retry_after_ms;
        }
        ending
    }

    /// An overload tells the device an appointment, as those get who are turned away, if that is later: while the cluster cannot be
    /// reached nobody's bind stands, and all would come back together.
    pub(crate) fn appointed(self, now: Now, env: &mut Env) -> Ending {
        if self.reason != CloseReason::Overloaded {
            return self;
        }
        let appointment = env.storm.appointment_ms(&env.limits, &mut env.jitter, now.us());
        let wait_ms = self.retry_after_ms.max(appointment);
        self.retrying_after(wait_ms)
    }

    pub(crate) fn frame(&self) -> client::Close {
        client::Close {
            reason: self.reason.number().into(),
            detail: self.detail.clone(),
            retry_after_ms: self.retry_after_ms,
        }
    }
}

impl From<WireError> for Ending {
    fn from(error: WireError) -> Ending {
        Ending::new(error.reason(), error.to_string())
    }
}

/// The answer to a bind that does not stand.
pub(crate) fn refused(index: u32, result: BindResult, detail: impl Into<String>) -> client::Bound {
    let retry_after_ms = if result == BindResult::Unavailable { RETRY_AFTER_MS } else { 0 };
    client::Bound {
        index,
        result: result.into(),
        window: 0,
        retry_after_ms,
        detail: shortened(detail.into()),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > DETAIL {
        text.truncate(text.floor_char_boundary(DETAIL));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_cut_at_a_character() {
        let ending = Ending::new(CloseReason::Kicked, "é".repeat(150));
        assert_eq!(ending.detail, "é".repeat(100));
    }

    #[test]
    fn what_refused_the_last_bind_decides_the_reason() {
        let reason = |result| Ending::without_bind(&refused(0, result, "")).reason;
        assert_eq!(reason(BindResult::BadToken), CloseReason::NoBind);
        assert_eq!(reason(BindResult::Stale), CloseReason::Displaced);
        assert_eq!(reason(BindResult::Unavailable), CloseReason::Overloaded);
        assert_eq!(
            Ending::without_bind(&refused(0, BindResult::Unavailable, "")).retry_after_ms,
            RETRY_AFTER_MS
        );
    }
}
