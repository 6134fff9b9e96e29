//! A look over the top level of a protobuf message without decoding it.

use prost::encoding::{DecodeContext, decode_key, skip_field};

/// How often the field with this tag stands in the message; none if it is not protobuf.
pub(crate) fn count_field(mut message: &[u8], tag: u32) -> Option<usize> {
    let mut count = 0;
    while !message.is_empty() {
        let (found, wire_type) = decode_key(&mut message).ok()?;
        if found == tag {
            count += 1;
        }
        skip_field(wire_type, found, &mut message, DecodeContext::default()).ok()?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use longline_pb::client::{Bind, Hello};
    use prost::Message;

    use super::*;

    #[test]
    fn fields_are_counted_and_garbage_is_seen() {
        let hello = Hello { device: "d".into(), binds: vec![Bind::default(); 5], ..Hello::default() };
        let bytes = hello.encode_to_vec();
        assert_eq!(count_field(&bytes, 6), Some(5));
        assert_eq!(count_field(&bytes, 1), Some(1));
        assert_eq!(count_field(&bytes, 2), Some(0));
        assert_eq!(count_field(&[], 6), Some(0));
        assert_eq!(count_field(&bytes[..bytes.len() - 1], 6), None);
    }
}
