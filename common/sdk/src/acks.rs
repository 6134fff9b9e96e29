//! Acknowledgements gathered into frames.

use std::time::Duration;

use longline_pb::client;
use longline_types::limits;
use tokio::time::Instant;

use crate::outbox::Outbox;

/// As many ids as this are sent at once.
const BATCH: usize = 256;
/// How long the first id waits for company.
const LINGER: Duration = Duration::from_millis(4);

/// Ids to acknowledge on this connection. Bounded by what the room has in flight.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    by_bind: Vec<(u8, Vec<u64>)>,
    count: usize,
    due: Option<Instant>,
}

impl Acks {
    /// Adds an id for the bind with this index.
    pub(crate) fn push(&mut self, index: u8, id: u64, now: Instant) {
        match self.by_bind.iter_mut().find(|(i, _)| *i == index) {
            Some((_, ids)) => ids.push(id),
            None => self.by_bind.push((index, vec![id])),
        }
        self.count += 1;
        let due = if self.count >= BATCH { now } else { now + LINGER };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// When to write.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what is due.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut Outbox) {
        if self.due.is_some_and(|due| due <= now) {
            self.flush_all(out);
        }
    }

    /// Writes everything, due or not.
    pub(crate) fn flush_all(&mut self, out: &mut Outbox) {
        for (index, ids) in std::mem::take(&mut self.by_bind) {
            for ids in ids.chunks(limits::ACK_IDS) {
                out.send(&client::Ack { index: index.into(), ids: ids.to_vec() });
            }
        }
        self.clear();
    }

    /// Forgets everything: the connection is gone, and the room will send again what it did not hear about.
    pub(crate) fn clear(&mut self) {
        *self = Acks::default();
    }
}

#[cfg(test)]
mod tests {
    use longline_wire::{Limits, decode};

    use super::*;

    fn written(out: &Outbox) -> Vec<(u32, usize)> {
        let (mut bytes, mut acks) = (out.bytes(), Vec::new());
        while let Some((frame, used)) = decode(bytes, &Limits::FROM_DEVICE).unwrap() {
            let ack: client::Ack = frame.parse().unwrap();
            acks.push((ack.index, ack.ids.len()));
            bytes = &bytes[used..];
        }
        acks
    }

    #[test]
    fn a_few_wait_and_many_go_at_once() {
        let (mut acks, mut out, now) = (Acks::default(), Outbox::default(), Instant::now());
        acks.push(0, 1, now);
        acks.push(3, 2, now);
        acks.flush(now, &mut out);
        assert!(out.is_empty());
        acks.flush(now + LINGER, &mut out);
        assert_eq!(written(&out), [(0, 1), (3, 1)]);
        assert_eq!(acks.due(), None);

        let mut out = Outbox::default();
        (0..BATCH as u64).for_each(|id| acks.push(1, id, now));
        acks.flush(now, &mut out);
        assert_eq!(written(&out), [(1, BATCH)]);
    }

    #[test]
    fn no_frame_has_more_ids_than_allowed() {
        let (mut acks, mut out, now) = (Acks::default(), Outbox::default(), Instant::now());
        (0..2500).for_each(|id| acks.push(1, id, now));
        acks.flush_all(&mut out);
        assert_eq!(written(&out), [(1, 1024), (1, 1024), (1, 452)]);
    }
}
