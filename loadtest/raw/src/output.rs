//! What a connection has not written yet. An idle one owns no buffer.

/// A buffer that grew beyond this is not kept.
const KEPT_CAPACITY: usize = 64 * 1024;
/// Buffers kept for the next session that writes.
const KEPT: usize = 1024;

/// Frames in their order; nothing is allocated while there are none.
#[derive(Default)]
pub(crate) struct Output(Option<Box<Unwritten>>);

#[derive(Default)]
struct Unwritten {
    bytes: Vec<u8>,
    written: usize,
}

/// Buffers between two uses.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is used again")]
pub(crate) struct Pool(Vec<Box<Unwritten>>);

impl Output {
    /// Unwritten bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The unwritten bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |unwritten| &unwritten.bytes[unwritten.written..])
    }

    /// The buffer to append to.
    pub(crate) fn buffer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_with(|| pool.0.pop().unwrap_or_default()).bytes
    }

    /// The socket has taken this many bytes.
    pub(crate) fn advance(&mut self, count: usize, pool: &mut Pool) {
        if let Some(unwritten) = &mut self.0 {
            unwritten.written += count;
            if unwritten.written >= unwritten.bytes.len() {
                self.clear(pool);
            }
        }
    }

    /// Gives everything up.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        let Some(mut unwritten) = self.0.take() else { return };
        if pool.0.len() < KEPT && unwritten.bytes.capacity() <= KEPT_CAPACITY {
            unwritten.bytes.clear();
            unwritten.written = 0;
            pool.0.push(unwritten);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_the_buffer_is_used_again() {
        let (mut output, mut pool) = (Output::default(), Pool::default());
        output.buffer(&mut pool).extend_from_slice(b"abc");
        output.advance(2, &mut pool);
        output.buffer(&mut pool).extend_from_slice(b"de");
        assert_eq!((output.bytes(), output.len()), (&b"cde"[..], 3));
        output.advance(3, &mut pool);
        assert!(output.is_empty() && pool.0.len() == 1);
        output.buffer(&mut pool).push(b'f');
        assert_eq!((output.bytes(), pool.0.len()), (&b"f"[..], 0));
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let (mut output, mut pool) = (Output::default(), Pool::default());
        output.buffer(&mut pool).resize(KEPT_CAPACITY + 1, 0);
        output.clear(&mut pool);
        assert!(output.is_empty() && pool.0.is_empty());
    }
}
