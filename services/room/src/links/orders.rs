//! What operators order this room to do: to be drained. An order is an entry in the keeper's configuration under the room's
//! incarnation, so it ends with the process, and is found again after a time without the keeper.

use std::sync::Arc;
use std::time::Duration;

use longline_member::Entries;
use tokio_util::sync::CancellationToken;

use super::{Cause, Links};

/// Keys of orders to drain: this, then the incarnation in decimal digits. The value is the room's name, for people.
pub const DRAIN_PREFIX: &str = "room/drain/";

/// How long the keeper may take to delete an order that is over.
const DELETE_DEADLINE: Duration = Duration::from_secs(1);

/// The entry that has the room with this incarnation drained. Its value is the room's name.
pub fn drain_key(incarnation: u64) -> String {
    format!("{DRAIN_PREFIX}{incarnation}")
}

/// Follows the orders until the room stops, and takes those for this process away then.
pub(crate) async fn follow(links: Arc<Links>, stop: CancellationToken) {
    let mut entries = links.member.config(DRAIN_PREFIX);
    let mut identities = links.member.identity();
    // A room that lost its lease has a new incarnation, and its order stands all the same.
    let mut own = vec![drain_key(identities.borrow_and_update().incarnation)];
    let mut drained = false;
    loop {
        let known = entries.borrow_and_update().clone();
        let ordered = orders(&known, &own).next().is_some();
        if known.are_known() && ordered != drained {
            drained = ordered;
            match ordered {
                true => links.departures.begin(Cause::Command).await,
                false => links.departures.end(Cause::Command).await,
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = entries.changed() => if changed.is_err() { return },
            changed = identities.changed() => {
                if changed.is_err() {
                    return;
                }
                own.push(drain_key(identities.borrow_and_update().incarnation));
            }
        }
    }
    let known = entries.borrow().clone();
    for (key, revision) in orders(&known, &own) {
        if let Err(error) = links.member.write_config(key, None, revision, DELETE_DEADLINE).await {
            tracing::debug!(%error, key, "an order stays behind; no other room takes it for its own");
        }
    }
}

/// The orders for this process, and their revisions.
fn orders<'a>(entries: &'a Entries, own: &'a [String]) -> impl Iterator<Item = (&'a str, u64)> {
    own.iter().filter_map(|key| Some((key.as_str(), entries.get(key)?.revision)))
}
