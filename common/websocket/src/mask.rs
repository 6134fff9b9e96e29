//! The mask over what a client sends.

/// The key of a mask. It is to be unpredictable: proxies that take frames for HTTP must not be led by chosen bytes (RFC 6455,
/// 10.3).
pub type Mask = [u8; 4];

/// Puts the mask over bytes, or takes it off again. `key` is turned so that it fits the bytes that follow.
pub fn mask(bytes: &mut [u8], key: &mut Mask) {
    let [a, b, c, d] = *key;
    let wide = [a, b, c, d, a, b, c, d];
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(wide)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
    key.rotate_left(rest.len() % 4);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_masked_as_the_whole(bytes in vec(any::<u8>(), 0..100), key: Mask, cut in 0..100_usize) {
            let expected: Vec<u8> = bytes.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let mut masked = bytes.clone();
            let (one, other) = masked.split_at_mut(cut.min(bytes.len()));
            let mut turned = key;
            mask(one, &mut turned);
            mask(other, &mut turned);
            prop_assert_eq!(&masked, &expected);
            mask(&mut masked, &mut key.clone());
            prop_assert_eq!(masked, bytes);
        }
    }
}
