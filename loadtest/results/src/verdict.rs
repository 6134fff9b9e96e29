//! What became of the messages.

use serde::{Deserialize, Serialize};

/// Whether every message had the end that it was promised. It is about the system's legs; what `raw` does is in its leg's counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Why not, or what is to be known beside a good verdict, one line each.
    pub reasons: Vec<String>,
    /// Messages that were accepted and owed to a device and never reached it: unicasts and broadcast deliveries. None is let through.
    pub lost: u64,
    /// Of those, broadcast deliveries.
    pub lost_broadcast: u64,
    /// Uplinks that the room confirmed and that never reached the business, of either. None is let through.
    pub lost_uplinks: u64,
    /// Messages that came again without the mark that says so, or under another id.
    pub duplicated: u64,
    /// Unicasts that came before one of the same sender stream that was accepted earlier.
    pub reordered: u64,
    /// Messages that reached somebody else, or that nobody sent.
    pub foreign: u64,
    /// Messages that came after they had expired.
    pub late: u64,
    /// Messages that were still on their way when the wait for them ended: the run was interrupted, or their agent died. Not judged.
    pub unjudged: u64,
    /// Some of the messages that went wrong.
    pub examples: Vec<Example>,
}

/// One message that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What was wrong: `lost`, `duplicated`, `reordered`, `foreign`, `late`, …
    pub what: String,
    /// The round of the leg.
    pub round: u32,
    /// The user it was for, or who got it.
    pub user: String,
    /// The message's id; 0 if it never had one.
    pub id: u64,
    /// Its number in the load tester.
    pub sequence: u64,
    /// When it was due, µs since the Unix epoch.
    pub due_us: u64,
    /// More of what is known.
    pub detail: String,
}

/// How many messages came to what, over a leg.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Unicasts that were due.
    pub planned: u64,
    /// Unicasts that the API accepted.
    pub accepted: u64,
    /// Unicasts that the API refused.
    pub refused: u64,
    /// Unicasts whose request had no answer: they may arrive or not.
    pub unknown: u64,
    /// Unicasts that reached their device, each counted once.
    pub received: u64,
    /// Unicasts whose acknowledgement the device sent.
    pub acked: u64,
    /// Messages that came again and were marked so, as at-least-once delivery allows.
    pub redelivered: u64,
    /// See [`Verdict::duplicated`].
    pub duplicated: u64,
    /// See [`Verdict::reordered`].
    pub reordered: u64,
    /// See [`Verdict::foreign`].
    pub foreign: u64,
    /// See [`Verdict::late`].
    pub late: u64,
    /// Unicasts that expired before they could be delivered, as they may.
    pub expired: u64,
    /// Unicasts that are lost.
    pub lost: u64,
    /// Broadcasts sent.
    pub broadcasts: u64,
    /// Broadcast deliveries that were owed.
    pub broadcast_expected: u64,
    /// Broadcast deliveries, each device counted once.
    pub broadcast_received: u64,
    /// Broadcast deliveries that are lost.
    pub broadcast_lost: u64,
    /// Uplinks that the room confirmed.
    pub uplinks_confirmed: u64,
    /// Confirmed uplinks that reached the business.
    pub uplinks_received: u64,
    /// Confirmed uplinks that did not.
    pub uplinks_lost: u64,
}
