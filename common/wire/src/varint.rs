//! Lengths: LEB128, at most 4 bytes, in the shortest form only.

/// Most bytes of a length.
pub(crate) const MAX_BYTES: usize = 4;
/// Largest length that 4 bytes can say.
pub(crate) const MAX: usize = (1 << (7 * MAX_BYTES)) - 1;

/// The bytes of a length, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Varint {
    bytes: [u8; MAX_BYTES],
    len: u8,
}

impl Varint {
    /// The shortest form of `value`; none above [`MAX`].
    pub(crate) fn of(value: usize) -> Option<Varint> {
        if value > MAX {
            return None;
        }
        let mut bytes = [0; MAX_BYTES];
        let mut rest = value;
        let mut len = 0;
        loop {
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            bytes[len] = if rest == 0 { low } else { low | 0x80 };
            len += 1;
            if rest == 0 {
                return Some(Varint { bytes, len: len as u8 });
            }
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What a length's bytes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// A value, and how many bytes said it.
    Known(usize, usize),
    /// More bytes are needed.
    Incomplete,
    /// Longer than 4 bytes, or not in the shortest form.
    Invalid,
}

/// Reads a length from the start of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Length {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return if byte == 0 && i > 0 { Length::Invalid } else { Length::Known(value, i + 1) };
        }
    }
    if bytes.len() < MAX_BYTES { Length::Incomplete } else { Length::Invalid }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edges_of_each_size_are_as_documented() {
        let said = |value| Varint::of(value).unwrap().as_slice().to_vec();
        assert_eq!(said(0), [0]);
        assert_eq!(said(127), [0x7f]);
        assert_eq!(said(128), [0x80, 1]);
        assert_eq!(said(16_383), [0xff, 0x7f]);
        assert_eq!(said(16_384), [0x80, 0x80, 1]);
        assert_eq!(said(MAX), [0xff, 0xff, 0xff, 0x7f]);
        assert!(Varint::of(MAX + 1).is_none());
    }

    #[test]
    fn long_forms_and_endless_varints_are_refused() {
        assert_eq!(read(&[0x80, 0]), Length::Invalid);
        assert_eq!(read(&[0xff, 0x80, 0]), Length::Invalid);
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80]), Length::Invalid);
        assert_eq!(read(&[0x80, 0x80, 0x80]), Length::Incomplete);
        assert_eq!(read(&[]), Length::Incomplete);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0..=MAX, more in any::<[u8; 3]>()) {
            let mut bytes = Varint::of(value).unwrap().as_slice().to_vec();
            let len = bytes.len();
            for cut in 0..len {
                prop_assert_eq!(read(&bytes[..cut]), Length::Incomplete);
            }
            bytes.extend(more);
            prop_assert_eq!(read(&bytes), Length::Known(value, len));
        }

        #[test]
        fn what_is_read_would_be_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..6)) {
            if let Length::Known(value, len) = read(&bytes) {
                let again = Varint::of(value).unwrap();
                prop_assert_eq!(again.as_slice(), &bytes[..len]);
            }
        }
    }
}
