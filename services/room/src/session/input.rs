//! Bytes of a frame that has not come whole.
#![expect(clippy::box_collection, reason = "8 bytes in each session instead of 24, and hardly ever there")]

/// Nothing is allocated while there are none.
#[derive(Default)]
pub(crate) struct Input(Option<Box<Vec<u8>>>);

impl Input {
    /// The bytes that came before, followed by these, if any came before; they are the caller's until [`Input::keep`].
    pub(crate) fn join(&mut self, bytes: &[u8]) -> Option<Box<Vec<u8>>> {
        let mut kept = self.0.take()?;
        kept.extend_from_slice(bytes);
        Some(kept)
    }

    /// Keeps what was not used of `joined`, or else of `bytes`.
    pub(crate) fn keep(&mut self, joined: Option<Box<Vec<u8>>>, bytes: &[u8], used: usize) {
        self.0 = match joined {
            Some(mut joined) if used < joined.len() => {
                joined.drain(..used);
                if joined.capacity() > 2 * joined.len() + 1024 {
                    joined.shrink_to_fit();
                }
                Some(joined)
            }
            None if used < bytes.len() => Some(Box::new(bytes[used..].to_vec())),
            _ => None,
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What is kept; nothing is then.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |bytes| *bytes)
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Bytes that it takes.
    pub(crate) fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.capacity())
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_is_kept_and_joined() {
        let mut input = Input::default();
        assert!(input.join(b"abc").is_none());
        input.keep(None, b"abc", 1);
        let joined = input.join(b"de");
        assert_eq!(joined.as_ref().unwrap().as_slice(), b"bcde");
        input.keep(joined, b"de", 3);
        assert_eq!(input.len(), 1);
        let joined = input.join(b"");
        input.keep(joined, b"", 1);
        assert_eq!(input.len(), 0);
        input.keep(None, b"abc", 3);
        assert_eq!(input.len(), 0, "an idle session owns no buffer");
    }
}
