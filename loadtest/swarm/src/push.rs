//! A PUSH read by hand: only the fields that are accounted for, and nothing copied.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What a PUSH says, borrowed from its frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct PushView<'a> {
    pub(crate) id: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) flags: u64,
}

impl<'a> PushView<'a> {
    /// Reads the message of a PUSH, without the bind's index; none if it is not one.
    pub(crate) fn read(mut body: &'a [u8]) -> Option<PushView<'a>> {
        let mut push = PushView::default();
        while !body.is_empty() {
            let (tag, wire_type) = decode_key(&mut body).ok()?;
            match (tag, wire_type) {
                (1, WireType::SixtyFourBit) => {
                    let (bytes, rest) = body.split_first_chunk()?;
                    (push.id, body) = (u64::from_le_bytes(*bytes), rest);
                }
                (2, WireType::LengthDelimited) => {
                    let length = usize::try_from(decode_varint(&mut body).ok()?).ok()?;
                    (push.payload, body) = body.split_at_checked(length)?;
                }
                (3, WireType::Varint) => push.flags = decode_varint(&mut body).ok()?,
                _ => skip_field(wire_type, tag, &mut body, DecodeContext::default()).ok()?,
            }
        }
        Some(push)
    }
}

#[cfg(test)]
mod tests {
    use longline_pb::client::Push;
    use prost::Message;

    use super::*;

    fn example() -> Push {
        Push {
            id: 42,
            payload: b"hello".as_slice().into(),
            flags: 9,
            sent_at_ms: 1_790_000_000_000,
            expires_at_ms: 1_790_000_060_000,
            broadcast_seq: 7,
        }
    }

    #[test]
    fn it_reads_what_the_codec_writes() {
        let bytes = example().encode_to_vec();
        let read = PushView { id: 42, payload: b"hello", flags: 9 };
        assert_eq!(PushView::read(&bytes), Some(read));
        assert_eq!(PushView::read(&[]), Some(PushView::default()));
    }

    #[test]
    fn it_refuses_what_the_codec_refuses() {
        let bytes = example().encode_to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(PushView::read(&bytes[..cut]).is_some(), Push::decode(&bytes[..cut]).is_ok(), "{cut}");
        }
        assert_eq!(PushView::read(&[0xff; 12]), None);
        assert_eq!(PushView::read(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }
}
