//! ACK frames written by hand from a slice of ids, so that nothing is allocated for them.

use longline_types::limits;
use longline_wire::FrameType;
use prost::encoding::encode_varint;

/// Appends what acknowledges these ids on bind 0, in as many frames as that takes.
pub(crate) fn encode_acks(ids: &[u64], out: &mut Vec<u8>) {
    ids.chunks(limits::ACK_IDS).for_each(|ids| encode_ack(ids, out));
}

fn encode_ack(ids: &[u64], out: &mut Vec<u8>) {
    /// Field 2, length-delimited.
    const IDS: u8 = 0x12;
    let packed = ids.len() as u64 * 8;
    out.push(FrameType::Ack.number());
    encode_varint(1 + prost::encoding::encoded_len_varint(packed) as u64 + packed, out);
    out.push(IDS);
    encode_varint(packed, out);
    ids.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use longline_pb::client::Ack;
    use longline_wire::{Limits, decode, encode};

    use super::*;

    #[test]
    fn it_writes_what_the_codec_writes() {
        for count in [1, 2, 15, 16, 300, 1024] {
            let ids: Vec<u64> = (0..count).map(|n| n * 0x0123_4567_89ab).collect();
            let (mut by_hand, mut by_codec) = (Vec::new(), Vec::new());
            encode_acks(&ids, &mut by_hand);
            encode(&Ack { index: 0, ids }, &mut by_codec).unwrap();
            assert_eq!(by_hand, by_codec, "{count}");
        }
    }

    #[test]
    fn many_ids_take_several_frames() {
        let ids: Vec<u64> = (0..2500).collect();
        let mut out = Vec::new();
        encode_acks(&ids, &mut out);
        let (mut bytes, mut read) = (&out[..], Vec::new());
        while let Some((frame, used)) = decode(bytes, &Limits::FROM_DEVICE).unwrap() {
            read.extend(frame.parse::<Ack>().unwrap().ids);
            bytes = &bytes[used..];
        }
        assert_eq!(read, ids);
        assert!(bytes.is_empty());
    }
}
