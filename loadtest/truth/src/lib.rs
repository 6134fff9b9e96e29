//! What the load tester knows of every message: ledger, latencies, verdict. Pure data: no input or output, no threads.
//!
//! # The rules of the truth
//!
//! A message is *planned* (it is due at a time), *sent*, *accepted* (the API gave an id), *refused* or *unknown* (no answer), then *received*
//! and *acked*. A PUSH may be seen before the API's answer. Every payload begins with a [`Header`], so that a receipt leads to its message
//! without a search; a payload that goes to several users names their batch, and each of them has a message of its own. What is planned and
//! then not sent is *skipped*, and must not arrive either.
//!
//! - **lost**: accepted, durable, not expired, and never received, though its user was online at the end, and had been for [`Graces::back`].
//!   If not, it is **unreachable**: not lost, but not proved either, and no run with such messages is green.
//! - **foreign**: the payload is another user's, agent's or run's, or belongs to no planned message; it has no readable header
//!   (**unreadable**); its id is not the one the API gave (**wrong_id**, at whichever comes later, answer or receipt); or the API had refused
//!   it (**unexpected**). A message whose end is unknown may come or not.
//! - **redelivered** or **duplicated**: delivery is at least once. A further receipt is redelivered, and right, if it comes on another
//!   connection and the acknowledgement of the last receipt was not written, or less than the grace ([`Graces::ack`]) before that connection
//!   ended; or if it comes on the same connection with the flag REDELIVERED and was not acknowledged there, or less than the grace
//!   ago (the two crossed). Everything else is duplicated.
//! - **reordered** (rule D7 of delivery): first received after another message that was *sent* only after this one was *accepted*. Judged
//!   within one stream of one sender, one class, and one connection; never with the flag REDELIVERED, never for broadcasts. Messages
//!   whose requests overlapped have no order, nor has one whose answer was not seen when it came.
//! - **late**: received (first, or rightly again) more than [`Graces::late`] after its expiry, given the server the whole time of its answer.
//! - **expired**: accepted with a time to live that passed without a receipt. No fault. If it comes after all, it is not counted any more.
//! - **transient** messages are never lost; those not received are counted as dropped.
//! - **broadcasts** are owed to each user whose first bind stood more than [`Graces::broadcast`] before the broadcast was sent (S8); others may
//!   get them. What is missing at the end is lost or unreachable as a unicast is; further receipts are judged like unicasts'.
//! - **Latencies** count from when a message was *due*: a server that makes the sender wait does not hide it.
//!
//! # What is approximated
//!
//! A ledger of 200,000 messages a second cannot keep them all. A unicast that was received and whose acknowledgement is beyond doubt is
//! forgotten some seconds later (48 bytes until then, 1/128 byte from then on): a further receipt is still seen, as duplicated. What
//! can come to nothing but a fault (refused, expired, transient and dropped) is remembered for 15 seconds; coming later, it counts as
//! duplicated instead of unexpected or late. An acknowledgement that may have died with its connection excuses further receipts for
//! ten minutes. Of older broadcasts less is known: see the module `broadcasts`. Times within the rules are kept in milliseconds, but
//! those of order and latency, which are exact.

mod clock;
mod counts;
mod findings;
mod header;
mod latencies;
mod ledger;
mod lock;
mod verdict;

pub use self::clock::{Clock, Micros};
pub use self::counts::Counts;
pub use self::findings::{Example, Fault, Findings};
pub use self::header::{Header, Kind};
pub use self::latencies::{
    LONGEST, Latencies, NotLatencies, Spans, histogram, histogram_from_bytes, histogram_to_bytes,
};
pub use self::ledger::{Graces, Ledger, LedgerOptions, Plan, Receipt, Received};
pub use self::verdict::{Allowed, Verdict};
