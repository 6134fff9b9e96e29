//! Messages as JSON in gRPC frames.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Encodes `E` and decodes `D` as JSON.
#[derive(Debug)]
pub(crate) struct JsonCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for JsonCodec<E, D> {
    fn default() -> Self {
        JsonCodec(PhantomData)
    }
}

impl<E, D> Codec for JsonCodec<E, D>
where
    E: Serialize + Send + 'static,
    D: DeserializeOwned + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = JsonEncoder<E>;
    type Decoder = JsonDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        JsonEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        JsonDecoder(PhantomData)
    }
}

/// See [`JsonCodec`].
#[derive(Debug)]
pub(crate) struct JsonEncoder<E>(PhantomData<E>);

impl<E: Serialize> Encoder for JsonEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        serde_json::to_writer(out.writer(), &item).map_err(|e| Status::internal(e.to_string()))
    }
}

/// See [`JsonCodec`].
#[derive(Debug)]
pub(crate) struct JsonDecoder<D>(PhantomData<D>);

impl<D: DeserializeOwned> Decoder for JsonDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        if !bytes.has_remaining() {
            return Ok(None);
        }
        let item = serde_json::from_reader(bytes.reader());
        let other = |e| {
            Status::invalid_argument(format!("the other side is another version of the load tester: {e}"))
        };
        item.map(Some).map_err(other)
    }
}
