//! What an injector is told: reports that are being written.

use crate::injection::{ACKED, LENGTH, REPORT, REPORT_HEAD};

/// With this much unwritten, no more deliveries are taken from the injector.
const LONG: usize = 256 * 1024;
/// With this much unwritten, the injector is given up.
const TOO_LONG: usize = 16 * 1024 * 1024;
/// Written bytes before unwritten ones that are worth a move.
const WORTH_MOVING: usize = 64 * 1024;
/// A buffer that grew beyond this is not kept.
const KEPT_CAPACITY: usize = 1024 * 1024;

/// Reports in their order.
#[derive(Default)]
pub struct Reports {
    bytes: Vec<u8>,
    written: usize,
    /// Where the report begins that is still being filled.
    open: Option<usize>,
}

impl Reports {
    /// A device has acknowledged a message.
    pub fn acked(&mut self, user: u32, id: u64) {
        let start = self.start();
        self.bytes.extend_from_slice(&user.to_le_bytes());
        self.bytes.extend_from_slice(&id.to_le_bytes());
        if self.bytes.len() - start + ACKED > LENGTH + REPORT {
            self.end();
        }
    }

    /// A delivery's user was not connected.
    pub fn absent(&mut self) {
        let start = self.start();
        if let Some(count) =
            self.bytes[start..].get_mut(LENGTH..REPORT_HEAD).and_then(|b| b.first_chunk_mut())
        {
            *count = u32::from_le_bytes(*count).saturating_add(1).to_le_bytes();
        }
    }

    /// Ends the report that is being filled: what there is may be written.
    pub fn end(&mut self) {
        let Some(start) = self.open.take() else { return };
        let length = (self.bytes.len() - start - LENGTH) as u32;
        self.bytes[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    }

    /// What is to be written, after [`Reports::end`].
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The socket has taken this many bytes.
    pub fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY);
            self.written = 0;
        } else if self.written >= WORTH_MOVING {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Whether the injector is to read first.
    pub fn is_long(&self) -> bool {
        self.unwritten().len() >= LONG
    }

    /// Whether the injector reads nothing at all, as it seems.
    pub fn is_too_long(&self) -> bool {
        self.unwritten().len() >= TOO_LONG
    }

    /// Where the report that is being filled begins.
    fn start(&mut self) -> usize {
        *self.open.get_or_insert_with(|| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&[0; REPORT_HEAD]);
            start
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::injection::{Acked, Report, take_whole};

    /// Everything unwritten, read as an injector reads it; and how many reports that were.
    fn read(reports: &mut Reports) -> (Report, usize) {
        reports.end();
        let mut input = BytesMut::from(reports.unwritten());
        reports.advance(input.len());
        let (mut all, mut count) = (Report::default(), 0);
        while let Some(body) = take_whole(&mut input, REPORT).unwrap() {
            all.add(&body).unwrap();
            count += 1;
        }
        assert!(input.is_empty());
        (all, count)
    }

    #[test]
    fn what_happens_between_two_writes_is_one_report() {
        let mut reports = Reports::default();
        reports.acked(1, 10);
        reports.absent();
        reports.acked(2, 20);
        reports.absent();
        let acked = vec![Acked { user: 1, id: 10 }, Acked { user: 2, id: 20 }];
        assert_eq!(read(&mut reports), (Report { acked, absent: 2 }, 1));
        reports.absent();
        assert_eq!(read(&mut reports), (Report { acked: vec![], absent: 1 }, 1));
        assert_eq!(read(&mut reports), (Report::default(), 0));
    }

    #[test]
    fn a_report_ends_at_its_limit() {
        let mut reports = Reports::default();
        let fit = (REPORT - 4) / ACKED;
        for id in 0..=fit as u64 {
            reports.acked(0, id);
        }
        let (all, count) = read(&mut reports);
        assert_eq!((all.acked.len(), count), (fit + 1, 2));
        assert!(all.acked.iter().enumerate().all(|(i, acked)| acked.id == i as u64));
    }

    #[test]
    fn bytes_taken_in_pieces_are_the_same_bytes() {
        let (mut reports, mut whole) = (Reports::default(), Reports::default());
        let mut taken = Vec::new();
        for id in 0..40_000 {
            reports.acked(3, id);
            whole.acked(3, id);
            if id % 100 == 0 {
                reports.end();
                whole.end();
                let piece = reports.unwritten().len() / 2;
                taken.extend_from_slice(&reports.unwritten()[..piece]);
                reports.advance(piece);
            }
        }
        reports.end();
        whole.end();
        taken.extend_from_slice(reports.unwritten());
        assert!(taken == whole.bytes);
        assert!(whole.is_long() && !whole.is_too_long());
    }
}
