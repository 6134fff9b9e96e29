//! The tickets of sessions that move from room to room, and the keys that all rooms of the cluster share for them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use longline_auth::{InvalidTicket, TicketKeys};
use longline_member::{Entry, Member};
use longline_types::{Address, Device, TimeMs, now_ms};
use prometheus::{IntCounter, IntCounterVec};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// The configuration entry with the keys. The first room that finds none makes them.
const KEY: &str = "room/ticket_keys";
/// The newest key is replaced after this long; tickets made with the one before live far shorter.
const ROTATE_AFTER_MS: u64 = 24 * 3600 * 1000;
/// Between two looks whether a key is to be made, if the configuration does not change.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Before the first keys are asked for again after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(2);
const WRITE_DEADLINE: Duration = Duration::from_secs(3);

/// Makes tickets and checks them. Without keys, since no keeper has answered yet, it makes none and takes none: a device then shows its
/// tokens, as ever.
pub(crate) struct Tickets {
    keys: ArcSwapOption<TicketKeys>,
    life_ms: u64,
    issued: IntCounter,
    shown: IntCounterVec,
}

impl Tickets {
    pub(crate) fn new(life: Duration, metrics: &Metrics) -> Tickets {
        Tickets {
            keys: ArcSwapOption::empty(),
            life_ms: life.as_millis() as u64,
            issued: metrics.tickets_issued.clone(),
            shown: metrics.tickets_shown.clone(),
        }
    }

    /// A ticket for a session that is sent away; empty if none can be made.
    pub(crate) fn issue(&self, device: Device, held: &[&Address]) -> Vec<u8> {
        let keys = self.keys.load();
        let Some(keys) = keys.as_ref().filter(|_| self.life_ms > 0) else { return Vec::new() };
        let ticket = keys.issue(device, held.iter().copied(), now_ms(), self.life_ms);
        self.issued.inc_by(u64::from(!ticket.is_empty()));
        ticket
    }

    /// Whether the ticket admits the device to the address.
    pub(crate) fn admits(&self, ticket: &[u8], device: Device, address: &Address) -> bool {
        let keys = self.keys.load();
        let result = match keys.as_ref().map(|keys| keys.admits(ticket, device, address, now_ms())) {
            None => "no_keys",
            Some(Ok(())) => "accepted",
            Some(Err(invalid)) => InvalidTicket::name(invalid),
        };
        self.shown.with_label_values(&[result]).inc();
        result == "accepted"
    }
}

/// Follows the keys, makes them if there are none, and new ones once a day, until the room stops.
pub(crate) async fn follow(tickets: Arc<Tickets>, member: Member, stop: CancellationToken) {
    let mut entries = member.config(KEY);
    loop {
        let known = entries.borrow_and_update().clone();
        let entry = known.get(KEY);
        tickets.keys.store(entry.and_then(keys).map(Arc::new));
        let mut wait = LOOK_AGAIN;
        if known.are_known()
            && let Some((next, revision)) = due(entry, now_ms())
        {
            // Of several rooms that do so at once one succeeds, and all learn its keys from the watch.
            if let Err(error) =
                member.write_config(KEY, Some(&next.to_bytes()), revision, WRITE_DEADLINE).await
            {
                tracing::debug!(%error, "the keys of tickets were not written");
                wait = TRY_AGAIN;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = entries.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn keys(entry: &Entry) -> Option<TicketKeys> {
    TicketKeys::from_bytes(&entry.value)
}

/// The keys to be written now in place of those that the keeper has, and over which revision.
fn due(stored: Option<&Entry>, now_ms: TimeMs) -> Option<(TicketKeys, u64)> {
    let revision = stored.map_or(0, |entry| entry.revision);
    match stored.and_then(keys) {
        None => Some((TicketKeys::generate(now_ms), revision)),
        Some(keys) if keys.made_at_ms().saturating_add(ROTATE_AFTER_MS) <= now_ms => {
            Some((keys.rotated(now_ms), revision))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = 1_800_000_000_000;

    fn entry(keys: &TicketKeys) -> Entry {
        Entry { value: keys.to_bytes(), revision: 7 }
    }

    #[test]
    fn keys_are_made_where_there_are_none_that_can_be_read() {
        let (made, revision) = due(None, NOW).unwrap();
        assert_eq!((made.made_at_ms(), revision), (NOW, 0));
        let unreadable = Entry { value: b"from another version".to_vec(), revision: 7 };
        assert_eq!(due(Some(&unreadable), NOW).unwrap().1, 7, "over what is there");
        assert!(due(Some(&entry(&made)), NOW).is_none());
    }

    #[test]
    fn they_are_rotated_after_a_day_and_tickets_of_the_last_ones_are_still_taken() {
        let made = TicketKeys::generate(NOW);
        assert!(due(Some(&entry(&made)), NOW + ROTATE_AFTER_MS - 1).is_none());
        let later = NOW + ROTATE_AFTER_MS;
        let (device, alice) = (Device::new("phone", 1), Address::new(1, "alice").unwrap());
        let ticket = made.issue(device, [&alice], later, 60_000);
        let (rotated, revision) = due(Some(&entry(&made)), later).unwrap();
        assert_eq!((rotated.made_at_ms(), revision), (later, 7));
        let next = Device::new("phone", 2);
        assert!(rotated.admits(&ticket, next, &alice, later).is_ok());
        let (again, _) = due(Some(&entry(&rotated)), later + ROTATE_AFTER_MS).unwrap();
        assert!(again.admits(&ticket, next, &alice, later).is_err(), "but not for ever");
    }
}
