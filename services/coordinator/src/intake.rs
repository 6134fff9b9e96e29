//! From a room's request to a stored callback that this coordinator holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longline_member::Member;
use longline_pb::convert::{address, ok_or_error};
use longline_pb::coordinator::{PresenceRequest, UplinkRequest};
use longline_pb::saver::{PutUplinkRequest, UplinkKind, UplinkRecord};
use longline_products::{Product, ProductTable};
use longline_rpc::Pipelines;
use longline_rpc::methods::SaverPutUplink;
use longline_types::{Address, Error, ProductId, TimeMs, limits, now_ms};
use tokio::time::Instant;

use crate::body::PresencePlace;
use crate::delivery::{Delivery, Job};
use crate::metrics::{Intake, Metrics};

/// Longest reason of going offline that is kept, in bytes.
const REASON: usize = 64;

/// Stores what rooms report, and starts to deliver it.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) member: Member,
    pub(crate) products: ProductTable,
    pub(crate) puts: Pipelines<SaverPutUplink>,
    pub(crate) delivery: Delivery,
    pub(crate) metrics: Metrics,
    /// For storing one request, retries included.
    pub(crate) store_timeout: Duration,
    pub(crate) lease_ms: u32,
}

impl Desk {
    /// Stores data from a device. `Ok` means that it is safe.
    pub(crate) async fn uplink(&self, request: UplinkRequest) -> Result<(), Error> {
        let result = self.try_uplink(request).await;
        self.metrics.uplink(&result);
        result.map(|_| ())
    }

    /// Stores that somebody came or went, if the product wants to know.
    pub(crate) async fn presence(&self, request: PresenceRequest) -> Result<(), Error> {
        let result = self.try_presence(request).await;
        self.metrics.presence(&result);
        result.map(|_| ())
    }

    async fn try_uplink(&self, request: UplinkRequest) -> Result<Intake, Error> {
        let address = address(&request.address)?;
        check_device(&request.device)?;
        if request.payload.len() > limits::PAYLOAD {
            return Err(Error::invalid(format!("a payload has at most {} bytes", limits::PAYLOAD)));
        }
        let product = self.product(address.product).await?;
        let product =
            product.filter(|product| !product.disabled && product.routes.contains_key(&request.route));
        if product.is_none() {
            let why = format!("product {} takes no data under route {}", address.product, request.route);
            return Err(Error::not_found(why));
        }
        let record = UplinkRecord {
            id: 0,
            kind: UplinkKind::Data.into(),
            address: Some((&address).into()),
            device: request.device,
            sequence: request.sequence,
            route: request.route,
            // The room's batch shares one buffer, which must not live as long as this record.
            payload: Bytes::copy_from_slice(&request.payload),
            received_at_ms: or_now(request.received_at_ms),
            attempts: 0,
            detail: String::new(),
        };
        self.store(&address, record).await
    }

    async fn try_presence(&self, request: PresenceRequest) -> Result<Intake, Error> {
        let address = address(&request.address)?;
        check_device(&request.device)?;
        let product = self.product(address.product).await?;
        if !product.is_some_and(|product| !product.disabled && product.presence_url.is_some()) {
            return Ok(Intake::NotWanted);
        }
        let kind = if request.online { UplinkKind::Online } else { UplinkKind::Offline };
        let place = PresencePlace { session: request.session, room: request.node };
        let record = UplinkRecord {
            id: 0,
            kind: kind.into(),
            address: Some((&address).into()),
            device: request.device,
            sequence: 0,
            route: 0,
            payload: place.to_payload().into(),
            received_at_ms: or_now(request.at_ms),
            attempts: 0,
            detail: cut(request.reason, REASON),
        };
        self.store(&address, record).await
    }

    async fn product(&self, id: ProductId) -> Result<Option<Arc<Product>>, Error> {
        self.products.find(id).await
    }

    /// Puts the record into the store's queue under a new id, held by this coordinator, and takes it on.
    async fn store(&self, address: &Address, mut record: UplinkRecord) -> Result<Intake, Error> {
        record.id = self.member.ids().make(now_ms()).map_err(Error::unavailable)?.0;
        let identity = self.member.current();
        let held_until = Instant::now() + Duration::from_millis(self.lease_ms.into());
        let request = PutUplinkRequest {
            record: Some(record.clone()),
            node: identity.number,
            incarnation: identity.incarnation,
            lease_ms: self.lease_ms,
        };
        let reply = self.puts.call_any(address.key().high, request, self.store_timeout).await?;
        ok_or_error(reply.error)?;
        if reply.repeated_request {
            // Whoever stored it delivers it; if that was an earlier try of this very call, the claim runs out first.
            return Ok(Intake::Repeated);
        }
        self.delivery.take_on(Job { record, held_until }).await;
        Ok(Intake::Stored)
    }
}

fn check_device(device: &str) -> Result<(), Error> {
    if device.is_empty() || device.len() > limits::DEVICE {
        return Err(Error::invalid(format!("a device id has 1 to {} bytes", limits::DEVICE)));
    }
    Ok(())
}

fn or_now(at_ms: TimeMs) -> TimeMs {
    if at_ms == 0 { now_ms() } else { at_ms }
}

/// At most so many bytes of the text, whole characters.
fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("short".into(), 64), "short");
        assert_eq!(cut("aä".into(), 2), "a");
    }
}
