//! What a session has not written yet. An idle session owns no buffer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Shared bytes shorter than this are copied: a slice of their own costs more.
const WORTH_SHARING: usize = 512;
/// A buffer that grew beyond this is not kept.
const KEPT_CAPACITY: usize = 64 * 1024;
/// Buffers kept for the next session that writes.
const KEPT: usize = 64;

/// Frames in their order; nothing is allocated while there are none.
#[derive(Default)]
pub(crate) struct Output(Option<Box<Unwritten>>);

#[derive(Default)]
struct Unwritten {
    segments: VecDeque<Segment>,
    bytes: usize,
    /// When the first of these bytes came, or the last were taken by the socket.
    stuck_since: u64,
}

enum Segment {
    Own { bytes: Vec<u8>, written: usize },
    Shared(Bytes),
}

/// Buffers between two uses.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is used again")]
pub(crate) struct Pool(Vec<Box<Unwritten>>);

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Unwritten bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |unwritten| unwritten.bytes)
    }

    /// Since when the socket has taken nothing; none if there is nothing to take.
    pub(crate) fn stuck_since(&self) -> Option<u64> {
        self.0.as_ref().map(|unwritten| unwritten.stuck_since)
    }

    /// The buffer to append to. What was appended is to be told to [`Output::added`].
    pub(crate) fn buffer(&mut self, pool: &mut Pool, now_ms: u64) -> &mut Vec<u8> {
        self.unwritten(pool, now_ms).last_own()
    }

    pub(crate) fn added(&mut self, bytes: usize) {
        match &mut self.0 {
            Some(unwritten) if unwritten.bytes + bytes > 0 => unwritten.bytes += bytes,
            _ => self.0 = None,
        }
    }

    /// Appends bytes that many sessions share, without a copy where that pays. They are counted.
    pub(crate) fn add_shared(&mut self, shared: &Bytes, pool: &mut Pool, now_ms: u64) {
        let unwritten = self.unwritten(pool, now_ms);
        unwritten.bytes += shared.len();
        if shared.len() < WORTH_SHARING {
            unwritten.last_own().extend_from_slice(shared);
        } else {
            unwritten.segments.push_back(Segment::Shared(shared.clone()));
        }
    }

    /// The unwritten bytes, in order, in as many slices as there is place for.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(unwritten) = &self.0 else { return 0 };
        let mut used = 0;
        for (slice, segment) in slices.iter_mut().zip(&unwritten.segments) {
            *slice = IoSlice::new(segment.unwritten());
            used += 1;
        }
        used
    }

    /// The socket has taken this many bytes.
    pub(crate) fn advance(&mut self, mut bytes: usize, pool: &mut Pool, now_ms: u64) {
        let Some(unwritten) = &mut self.0 else { return };
        unwritten.bytes = unwritten.bytes.saturating_sub(bytes);
        unwritten.stuck_since = now_ms;
        while let Some(segment) = unwritten.segments.front_mut() {
            let left = segment.unwritten().len();
            if bytes < left {
                segment.advance(bytes);
                break;
            }
            bytes -= left;
            // The last one stays: it may be a buffer worth keeping.
            if unwritten.segments.len() == 1 {
                break;
            }
            unwritten.segments.pop_front();
        }
        if unwritten.bytes == 0 {
            self.clear(pool);
        }
    }

    /// Gives everything up; says how many bytes that were.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> usize {
        self.0.take().map_or(0, |unwritten| pool.put(unwritten))
    }

    fn unwritten(&mut self, pool: &mut Pool, now_ms: u64) -> &mut Unwritten {
        self.0.get_or_insert_with(|| {
            let mut unwritten = pool.0.pop().unwrap_or_default();
            unwritten.stuck_since = now_ms;
            unwritten
        })
    }
}

impl Unwritten {
    fn last_own(&mut self) -> &mut Vec<u8> {
        if !matches!(self.segments.back(), Some(Segment::Own { .. })) {
            self.segments.push_back(Segment::Own { bytes: Vec::new(), written: 0 });
        }
        match self.segments.back_mut() {
            Some(Segment::Own { bytes, .. }) => bytes,
            _ => unreachable!("it was put there above"),
        }
    }
}

impl Segment {
    fn unwritten(&self) -> &[u8] {
        match self {
            Segment::Own { bytes, written } => &bytes[*written..],
            Segment::Shared(bytes) => bytes,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Segment::Own { written, .. } => *written += count,
            Segment::Shared(bytes) => bytes.advance(count),
        }
    }

    /// Makes an own segment empty and keeps its buffer; false if it is not worth keeping.
    fn recycle(&mut self) -> bool {
        match self {
            Segment::Own { bytes, written } if bytes.capacity() <= KEPT_CAPACITY => {
                bytes.clear();
                *written = 0;
                true
            }
            _ => false,
        }
    }
}

impl Pool {
    fn put(&mut self, mut unwritten: Box<Unwritten>) -> usize {
        let bytes = unwritten.bytes;
        unwritten.bytes = 0;
        unwritten.segments.truncate(1);
        unwritten.segments.retain_mut(Segment::recycle);
        if self.0.len() < KEPT {
            self.0.push(unwritten);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = output.slices(&mut slices);
        slices[..used].iter().flat_map(|s| s.iter().copied()).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Own(Vec<u8>),
        Shared(Vec<u8>),
        Write(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..2000);
        let step = prop_oneof![
            bytes().prop_map(Step::Own),
            bytes().prop_map(Step::Shared),
            (0usize..3000).prop_map(Step::Write),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(steps in steps()) {
            let mut pool = Pool::default();
            let mut output = Output::default();
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Own(bytes) => {
                        output.buffer(&mut pool, 1).extend_from_slice(&bytes);
                        output.added(bytes.len());
                        model.extend(bytes);
                    }
                    Step::Shared(bytes) => {
                        model.extend(&bytes);
                        output.add_shared(&bytes.into(), &mut pool, 1);
                    }
                    Step::Write(count) => {
                        let count = count.min(model.len());
                        output.advance(count, &mut pool, 2);
                        model.drain(..count);
                    }
                }
                prop_assert_eq!(output.len(), model.len());
                prop_assert_eq!(contents(&output), &model[..]);
            }
        }
    }

    #[test]
    fn an_idle_session_owns_no_buffer_and_the_next_one_gets_it() {
        let mut pool = Pool::default();
        let mut output = Output::default();
        output.buffer(&mut pool, 5).extend_from_slice(b"frame");
        output.added(5);
        assert_eq!(output.stuck_since(), Some(5));
        output.advance(2, &mut pool, 9);
        assert_eq!((output.len(), output.stuck_since()), (3, Some(9)));
        output.advance(3, &mut pool, 9);
        assert!(output.is_empty());
        assert_eq!(pool.0.len(), 1);
        assert!(output.buffer(&mut pool, 9).capacity() >= 5, "the same buffer");
        output.added(0);
        assert!(output.is_empty(), "nothing was appended");
    }
}
