//! From the wire to the store's records. Everything is checked here: a request that passes cannot hurt the store.

use longline_pb::convert::{address, required};
use longline_pb::saver::{
    AckRequest, CheckRequest, ClaimBroadcastsRequest, ClaimUplinksRequest, FinishUplinksRequest, LoadRequest,
    Product, PutBroadcastRequest, PutRequest, PutUplinkRequest, ReportBroadcastRequest, UplinkKind,
    WriteProductRequest,
};
use longline_pb::types::{Class, Durability, Message};
use longline_types::{Address, Error, MessageId, ProductId, limits};

use crate::store::{
    Ack, Check, Claim, FinishUplink, Idempotency, Load, Put, PutBroadcast, PutUplink, Report,
};

/// Most ids that a load may leave out: more than any window.
const EXCEPT: usize = 4096;
/// Most payload bytes of a page, whatever is asked: a reply must fit into a message.
const PAGE_BYTES: u32 = 4 * 1024 * 1024;
/// Longest time for which work can be claimed.
const LEASE_MS: u32 = 3_600_000;
/// Most broadcasts claimed or listed at once, and most uplinks: replies must fit into a message.
const CLAIMED: u32 = 128;
/// Most rooms in a report, and most uplinks finished at once.
const LIST: usize = 4096;
const NAME: usize = 64;
const URL: usize = 2048;
const SECRETS: usize = 16;
const SECRET: usize = 1024;
const ROUTES: usize = 256;
const DETAIL: usize = 1024;

pub(super) fn put(request: PutRequest) -> Result<Put, Error> {
    let address = one_address(&request.address)?;
    let collapse_key = optional_key(request.collapse_key, "collapse_key", limits::COLLAPSE_KEY)?;
    Ok(Put {
        address,
        idempotency: idempotency(request.idempotency_key, &request.digest)?,
        collapse_key,
        durability: Durability::try_from(request.durability).unwrap_or_default().into(),
        inbox_limit: request.inbox_limit,
        message: message(request.message)?,
    })
}

pub(super) fn load(request: LoadRequest) -> Result<Load, Error> {
    let limit = limit(request.limit)?;
    ensure(request.except.len() <= EXCEPT, || format!("`except` lists at most {EXCEPT} ids"))?;
    Ok(Load {
        address: one_address(&request.address)?,
        limit: limit as usize,
        max_bytes: request.max_bytes.min(PAGE_BYTES) as usize,
        except: request.except.into_iter().map(MessageId).collect(),
        known_broadcast: request.known_broadcast,
        seen_broadcast: request.seen_broadcast,
    })
}

pub(super) fn check(request: CheckRequest) -> Result<Check, Error> {
    Ok(Check { address: one_address(&request.address)?, in_flight: request.in_flight.into() })
}

pub(super) fn ack(request: AckRequest) -> Result<Ack, Error> {
    Ok(Ack {
        address: one_address(&request.address)?,
        id: id(request.id)?,
        broadcast_seq: request.broadcast_seq,
        written_at_ms: request.written_at_ms,
        room: request.room,
    })
}

pub(super) fn put_broadcast(request: PutBroadcastRequest) -> Result<PutBroadcast, Error> {
    Ok(PutBroadcast {
        product: product(request.product)?,
        message: message(request.message)?,
        rate_per_second: request.rate_per_second,
        idempotency: idempotency(request.idempotency_key, &request.digest)?,
    })
}

pub(super) fn claim_broadcasts(request: ClaimBroadcastsRequest) -> Result<Claim, Error> {
    let ClaimBroadcastsRequest { node, incarnation, lease_ms, limit } = request;
    claim(Claim { node, incarnation, lease_ms, limit })
}

pub(super) fn claim_uplinks(request: ClaimUplinksRequest) -> Result<Claim, Error> {
    let ClaimUplinksRequest { node, incarnation, lease_ms, limit } = request;
    claim(Claim { node, incarnation, lease_ms, limit })
}

fn claim(claim: Claim) -> Result<Claim, Error> {
    ensure(claim.limit > 0, || "`limit` is at least 1".to_owned())?;
    Ok(Claim { lease_ms: lease(claim.lease_ms)?, limit: claim.limit.min(CLAIMED), ..claim })
}

pub(super) fn report(request: ReportBroadcastRequest) -> Result<Report, Error> {
    ensure(request.rooms.len() <= LIST, || format!("`rooms` has at most {LIST} entries"))?;
    Ok(Report {
        product: product(request.product)?,
        id: id(request.id)?,
        node: request.node,
        incarnation: request.incarnation,
        lease_ms: if request.finished { 0 } else { lease(request.lease_ms)? },
        rooms: request.rooms,
        finished: request.finished,
    })
}

pub(super) fn put_uplink(request: PutUplinkRequest) -> Result<PutUplink, Error> {
    let record = required(request.record, "record")?;
    one_address(&record.address)?;
    id(record.id)?;
    ensure(record.kind() != UplinkKind::Unspecified, || "`kind` is not known".to_owned())?;
    ensure(record.device.len() <= limits::DEVICE, || {
        format!("`device` has at most {} bytes", limits::DEVICE)
    })?;
    ensure(record.detail.len() <= DETAIL, || format!("`detail` has at most {DETAIL} bytes"))?;
    payload(&record.payload)?;
    let PutUplinkRequest { node, incarnation, lease_ms, .. } = request;
    Ok(PutUplink { record, node, incarnation, lease_ms: lease(lease_ms)? })
}

pub(super) fn finish_uplinks(request: FinishUplinksRequest) -> Result<Vec<FinishUplink>, Error> {
    ensure(request.uplinks.len() <= LIST, || format!("`uplinks` has at most {LIST} entries"))?;
    let finish = |f: longline_pb::saver::FinishedUplink| {
        Ok(FinishUplink { id: id(f.id)?, taken: f.taken, next_try_at_ms: f.next_try_at_ms })
    };
    request.uplinks.into_iter().map(finish).collect()
}

pub(super) fn write_product(request: WriteProductRequest) -> Result<Product, Error> {
    let product = required(request.product, "product")?;
    ensure(i32::try_from(product.id).is_ok(), || "`id` is below 2^31".to_owned())?;
    let plain = !product.name.chars().any(char::is_control);
    ensure((1..=NAME).contains(&product.name.len()) && plain, || {
        format!("`name` has 1 to {NAME} bytes without control characters")
    })?;
    ensure(product.keys.len() <= SECRETS && product.keys.iter().all(|k| k.sha256.len() == 32), || {
        format!("`keys` has at most {SECRETS} entries of 32 bytes each")
    })?;
    let secrets = &product.token_keys;
    ensure(secrets.len() <= SECRETS && secrets.iter().all(|k| (1..=SECRET).contains(&k.len())), || {
        format!("`token_keys` has at most {SECRETS} entries of 1 to {SECRET} bytes")
    })?;
    ensure(product.webhook_secret.len() <= SECRET, || {
        format!("`webhook_secret` has at most {SECRET} bytes")
    })?;
    ensure(product.routes.len() <= ROUTES, || format!("`routes` has at most {ROUTES} entries"))?;
    let mut numbers: Vec<u32> = product.routes.iter().map(|r| r.number).collect();
    numbers.sort_unstable();
    ensure(numbers.windows(2).all(|w| w[0] != w[1]), || "`routes` has each number once".to_owned())?;
    product.routes.iter().try_for_each(|r| url(&r.url))?;
    if !product.presence_url.is_empty() {
        url(&product.presence_url)?;
    }
    Ok(product)
}

/// A product's id in a request.
pub(super) fn product(number: u32) -> Result<ProductId, Error> {
    ensure(number != 0, || "a product's id is at least 1".to_owned())?;
    Ok(ProductId(number))
}

/// A message's, broadcast's or uplink's id in a request.
pub(super) fn id(number: u64) -> Result<MessageId, Error> {
    ensure(number != 0 && i64::try_from(number).is_ok(), || "an id is 1 to 2^63 - 1".to_owned())?;
    Ok(MessageId(number))
}

/// How many records are asked for.
pub(super) fn limit(limit: u32) -> Result<u32, Error> {
    ensure((1..=limits::BATCH_ITEMS as u32).contains(&limit), || {
        format!("`limit` is 1 to {}", limits::BATCH_ITEMS)
    })?;
    Ok(limit)
}

fn one_address(field: &Option<longline_pb::types::Address>) -> Result<Address, Error> {
    let address = address(field)?;
    product(address.product.0)?;
    Ok(address)
}

fn message(field: Option<Message>) -> Result<Message, Error> {
    let message = required(field, "message")?;
    id(message.id)?;
    payload(&message.payload)?;
    ensure(message.class() != Class::Transient, || "a transient message is never stored".to_owned())?;
    ensure(message.expires_at_ms != 0, || "`expires_at_ms` is never 0".to_owned())?;
    ensure(message.broadcast_seq == 0, || "`broadcast_seq` is given by the store".to_owned())?;
    Ok(Message { class: Class::Durable.into(), ..message })
}

fn payload(payload: &[u8]) -> Result<(), Error> {
    ensure(payload.len() <= limits::PAYLOAD, || format!("`payload` has at most {} bytes", limits::PAYLOAD))
}

fn idempotency(key: String, digest: &[u8]) -> Result<Option<Idempotency>, Error> {
    let Some(key) = optional_key(key, "idempotency_key", limits::IDEMPOTENCY_KEY)? else { return Ok(None) };
    let digest =
        digest.try_into().map_err(|_| Error::invalid("`digest` has 16 bytes beside an idempotency key"))?;
    Ok(Some(Idempotency { key, digest }))
}

/// A key, or none if it is empty. Control characters are refused: a NUL would end the text inside a database.
fn optional_key(key: String, name: &str, most: usize) -> Result<Option<String>, Error> {
    ensure(key.len() <= most, || format!("`{name}` has at most {most} bytes"))?;
    ensure(!key.chars().any(char::is_control), || format!("`{name}` has no control characters"))?;
    Ok((!key.is_empty()).then_some(key))
}

fn lease(lease_ms: u32) -> Result<u32, Error> {
    ensure((1..=LEASE_MS).contains(&lease_ms), || format!("`lease_ms` is 1 to {LEASE_MS}"))?;
    Ok(lease_ms)
}

fn url(url: &str) -> Result<(), Error> {
    let known = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    let plain = !url.chars().any(char::is_control);
    ensure(known && plain && url.len() <= URL, || {
        format!("a URL begins with http:// or https:// and has at most {URL} bytes")
    })
}

fn ensure(right: bool, why: impl FnOnce() -> String) -> Result<(), Error> {
    if right { Ok(()) } else { Err(Error::invalid(why())) }
}

#[cfg(test)]
mod tests {
    use longline_pb::saver::{ProductKey, UplinkRecord, UplinkRoute};
    use longline_pb::types;
    use longline_types::ErrorCode;

    use super::*;

    fn good() -> PutRequest {
        PutRequest {
            address: Some(types::Address { product: 1, user: "alice".to_owned() }),
            message: Some(Message { id: 5, expires_at_ms: 9, ..Message::default() }),
            ..PutRequest::default()
        }
    }

    fn with_message(change: impl FnOnce(&mut Message)) -> PutRequest {
        let mut request = good();
        change(request.message.as_mut().unwrap());
        request
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Error>, names: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.contains(names), "{error}");
    }

    #[test]
    fn a_put_is_checked_field_by_field() {
        let put_ = put(good()).unwrap();
        assert_eq!((put_.idempotency, put_.collapse_key), (None, None));
        assert_eq!(put_.message.class(), Class::Durable);
        refused(put(PutRequest { address: None, ..good() }), "address");
        let nobody = Some(types::Address { product: 0, user: "alice".to_owned() });
        refused(put(PutRequest { address: nobody, ..good() }), "product");
        refused(put(PutRequest { message: None, ..good() }), "message");
        refused(put(with_message(|m| m.id = 0)), "id");
        refused(put(with_message(|m| m.id = 1 << 63)), "id");
        refused(put(with_message(|m| m.expires_at_ms = 0)), "expires_at_ms");
        refused(put(with_message(|m| m.broadcast_seq = 1)), "broadcast_seq");
        refused(put(with_message(|m| m.class = Class::Transient.into())), "transient");
        assert!(put(with_message(|m| m.payload = vec![0; limits::PAYLOAD].into())).is_ok());
        refused(put(with_message(|m| m.payload = vec![0; limits::PAYLOAD + 1].into())), "payload");
        refused(put(PutRequest { collapse_key: "k".repeat(65), ..good() }), "collapse_key");
        refused(put(PutRequest { idempotency_key: "k".repeat(129), ..good() }), "idempotency_key");
        refused(put(PutRequest { idempotency_key: "a\0b".to_owned(), ..good() }), "control");
        let keyed = PutRequest { idempotency_key: "k".to_owned(), digest: vec![7; 16], ..good() };
        assert_eq!(put(keyed.clone()).unwrap().idempotency.unwrap().digest, [7; 16]);
        refused(put(PutRequest { digest: vec![7; 15], ..keyed }), "digest");
    }

    #[test]
    fn a_page_is_bounded() {
        let request = LoadRequest { address: good().address, limit: 1, ..LoadRequest::default() };
        assert_eq!(load(request.clone()).unwrap().max_bytes, 0);
        let greedy = LoadRequest { max_bytes: u32::MAX, ..request.clone() };
        assert_eq!(load(greedy).unwrap().max_bytes, PAGE_BYTES as usize);
        refused(load(LoadRequest { limit: 0, ..request.clone() }), "limit");
        refused(load(LoadRequest { limit: 257, ..request.clone() }), "limit");
        refused(load(LoadRequest { except: vec![1; EXCEPT + 1], ..request }), "except");
    }

    #[test]
    fn claims_are_bounded() {
        let request = ClaimUplinksRequest { node: 1, incarnation: 2, lease_ms: 1, limit: u32::MAX };
        assert_eq!(claim_uplinks(request).unwrap().limit, CLAIMED);
        refused(claim_uplinks(ClaimUplinksRequest { limit: 0, ..request }), "limit");
        refused(claim_uplinks(ClaimUplinksRequest { lease_ms: 0, ..request }), "lease_ms");
        refused(claim_uplinks(ClaimUplinksRequest { lease_ms: LEASE_MS + 1, ..request }), "lease_ms");
    }

    #[test]
    fn an_uplink_is_checked() {
        let record = UplinkRecord {
            id: 5,
            kind: UplinkKind::Data.into(),
            address: good().address,
            ..UplinkRecord::default()
        };
        let of = |record| PutUplinkRequest { record: Some(record), node: 1, incarnation: 1, lease_ms: 5 };
        assert!(put_uplink(of(record.clone())).is_ok());
        refused(put_uplink(PutUplinkRequest::default()), "record");
        refused(put_uplink(of(UplinkRecord { kind: 0, ..record.clone() })), "kind");
        refused(put_uplink(of(UplinkRecord { kind: 99, ..record.clone() })), "kind");
        refused(put_uplink(of(UplinkRecord { address: None, ..record.clone() })), "address");
        refused(put_uplink(of(UplinkRecord { device: "d".repeat(129), ..record })), "device");
    }

    #[test]
    fn a_product_is_checked() {
        let product = Product { name: "demo".to_owned(), ..Product::default() };
        let write =
            |product| write_product(WriteProductRequest { product: Some(product), expected_revision: 0 });
        assert!(write(product.clone()).is_ok());
        refused(write(Product { name: String::new(), ..product.clone() }), "name");
        refused(write(Product { name: "n".repeat(65), ..product.clone() }), "name");
        let key = ProductKey { sha256: vec![1; 31], expires_at_ms: 0 };
        refused(write(Product { keys: vec![key], ..product.clone() }), "keys");
        refused(write(Product { token_keys: vec![vec![]], ..product.clone() }), "token_keys");
        refused(write(Product { presence_url: "ftp://x".to_owned(), ..product.clone() }), "URL");
        let route = UplinkRoute { number: 1, url: "https://x".to_owned() };
        assert!(write(Product { routes: vec![route.clone()], ..product.clone() }).is_ok());
        refused(write(Product { routes: vec![route.clone(), route], ..product }), "once");
    }
}
