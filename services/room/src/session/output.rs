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
    /// What a transport has sealed, before the segments; their bytes are not for the wire then.
    sealed: Sealed,
    segments: VecDeque<Segment>,
    bytes: usize,
    /// The socket was offered some of these, and has not taken all.
    held_up: bool,
    /// When the first of these bytes came, or the last were taken by the socket.
    stuck_since: u64,
}

#[derive(Default)]
struct Sealed {
    bytes: Vec<u8>,
    written: usize,
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

    /// The socket is about to be offered all there is.
    pub(crate) fn offered(&mut self) {
        if let Some(unwritten) = &mut self.0 {
            unwritten.held_up = true;
        }
    }

    /// Whether the socket was offered bytes, and has not taken all of them.
    pub(crate) fn is_held_up(&self) -> bool {
        self.0.as_ref().is_some_and(|unwritten| unwritten.held_up)
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

    /// There are bytes that are not sealed. Without a transport none ever is.
    pub(crate) fn has_unsealed(&self) -> bool {
        self.0.as_ref().is_some_and(|unwritten| unwritten.bytes > unwritten.sealed.unwritten().len())
    }

    /// Appends to what is sealed. It is counted.
    pub(crate) fn add_sealed(&mut self, bytes: &[u8], pool: &mut Pool, now_ms: u64) {
        let unwritten = self.unwritten(pool, now_ms);
        unwritten.sealed.bytes.extend_from_slice(bytes);
        unwritten.bytes += bytes.len();
    }

    /// Lets a transport append to what is sealed, given what is not sealed yet, which it replaces. All of it counts.
    pub(crate) fn seal<T>(
        &mut self,
        pool: &mut Pool,
        now_ms: u64,
        seal: impl FnOnce(&[u8], &mut Vec<u8>) -> T,
    ) -> T {
        let unwritten = self.unwritten(pool, now_ms);
        let result = match &*unwritten.segments.make_contiguous() {
            [] => seal(&[], &mut unwritten.sealed.bytes),
            [only] => seal(only.unwritten(), &mut unwritten.sealed.bytes),
            many => {
                let plain: Vec<&[u8]> = many.iter().map(Segment::unwritten).collect();
                seal(&plain.concat(), &mut unwritten.sealed.bytes)
            }
        };
        unwritten.keep_one_segment();
        unwritten.bytes = unwritten.sealed.unwritten().len();
        if unwritten.bytes == 0 {
            self.clear(pool);
        }
        result
    }

    /// The unwritten bytes, if they stand together, as they nearly always do.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        let unwritten = self.0.as_ref()?;
        let alone = unwritten.segments.len() == 1 && unwritten.sealed.unwritten().is_empty();
        unwritten.segments.front().filter(|_| alone).map(Segment::unwritten)
    }

    /// The unwritten bytes, in order, in as many slices as there is place for.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let Some(unwritten) = &self.0 else { return 0 };
        let sealed = Some(unwritten.sealed.unwritten()).filter(|sealed| !sealed.is_empty());
        let mut used = 0;
        for (slice, bytes) in
            slices.iter_mut().zip(sealed.into_iter().chain(unwritten.segments.iter().map(Segment::unwritten)))
        {
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        used
    }

    /// The socket has taken this many bytes.
    pub(crate) fn advance(&mut self, mut bytes: usize, pool: &mut Pool, now_ms: u64) {
        let Some(unwritten) = &mut self.0 else { return };
        unwritten.bytes = unwritten.bytes.saturating_sub(bytes);
        unwritten.stuck_since = now_ms;
        bytes -= unwritten.sealed.advance(bytes);
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
    fn keep_one_segment(&mut self) {
        self.segments.truncate(1);
        self.segments.retain_mut(Segment::recycle);
    }

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

impl Sealed {
    fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Says how many of so many bytes were these.
    fn advance(&mut self, count: usize) -> usize {
        let count = count.min(self.unwritten().len());
        self.written += count;
        if self.written == self.bytes.len() {
            self.clear();
        }
        count
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.written = 0;
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
        unwritten.held_up = false;
        unwritten.keep_one_segment();
        unwritten.sealed.clear();
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
        let together = output.only().map(<[u8]>::to_vec);
        let contents = in_slices(output);
        assert!(together.is_none_or(|together| together == contents), "the same, in one piece");
        contents
    }

    fn in_slices(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = output.slices(&mut slices);
        slices[..used].iter().flat_map(|s| s.iter().copied()).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Own(Vec<u8>),
        Shared(Vec<u8>),
        Seal,
        Reply(Vec<u8>),
        Write(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..2000);
        let step = prop_oneof![
            bytes().prop_map(Step::Own),
            bytes().prop_map(Step::Shared),
            Just(Step::Seal),
            bytes().prop_map(Step::Reply),
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
            // How much of it is sealed, each byte with three bits changed.
            let mut sealed = 0;
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
                    Step::Seal => {
                        let unsealed = &model[sealed..];
                        prop_assert_eq!(output.has_unsealed(), !unsealed.is_empty());
                        output.seal(&mut pool, 3, |plain, wire| {
                            assert_eq!(plain, unsealed);
                            wire.extend(plain.iter().map(|byte| byte ^ 7));
                        });
                        model[sealed..].iter_mut().for_each(|byte| *byte ^= 7);
                        sealed = model.len();
                    }
                    Step::Reply(bytes) => {
                        output.add_sealed(&bytes, &mut pool, 1);
                        output.added(0);
                        model.splice(sealed..sealed, bytes.iter().copied());
                        sealed += bytes.len();
                    }
                    Step::Write(count) => {
                        let count = count.min(model.len());
                        output.advance(count, &mut pool, 2);
                        model.drain(..count);
                        sealed -= count.min(sealed);
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
        assert!(!output.is_held_up(), "nobody has offered it");
        output.offered();
        output.advance(0, &mut pool, 9);
        assert!(output.is_held_up());
        output.advance(3, &mut pool, 9);
        assert!(output.is_empty());
        assert_eq!(pool.0.len(), 1);
        assert!(output.buffer(&mut pool, 9).capacity() >= 5, "the same buffer");
        assert!(!output.is_held_up(), "and nothing else of it");
        output.added(0);
        assert!(output.is_empty(), "nothing was appended");
    }
}
