//! Products: created, changed, and their secrets made, for operators.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longline_auth::ProductKey;
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{self, ReadProductRequest, UplinkRoute, WriteProductRequest};
use longline_pb::types;
use longline_products::{DEFAULT_MAX_TTL, Product};
use longline_rpc::MAX_MESSAGE;
use longline_types::{Durability, Error, ErrorCode, ProductId, Role, SlowReader, TimeMs, now_ms};
use tokio::time::{Duration, Instant};

use super::Ops;
use crate::Failure;

/// What is to change. Every number's 0 and every empty text stand for the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) name: Option<String>,
    pub(crate) disabled: Option<bool>,
    pub(crate) require_token: Option<bool>,
    pub(crate) inbox_limit: Field<u32>,
    pub(crate) window: Field<u32>,
    pub(crate) ack_timeout_s: Field<u32>,
    pub(crate) default_ttl_s: Field<u32>,
    pub(crate) max_ttl_s: Field<u32>,
    pub(crate) durability: Field<Durability>,
    pub(crate) max_heartbeat_s: Field<u32>,
    pub(crate) slow_reader: Field<SlowReader>,
    pub(crate) max_queued_bytes: Field<u32>,
    pub(crate) routes: Option<Vec<RouteChange>>,
    pub(crate) presence_url: Field<String>,
}

/// A field of a change: left out, set back to the default, or set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Field<T> {
    /// Stays as it is.
    #[default]
    Keep,
    /// Back to the default.
    Reset,
    /// To this.
    Set(T),
}

/// Where uplinks of a route number go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RouteChange {
    pub(crate) number: u32,
    pub(crate) url: String,
}

/// A new product with its secrets, which are shown this once.
#[derive(Clone)]
pub(crate) struct Created {
    pub(crate) record: saver::Product,
    pub(crate) key: ProductKey,
    pub(crate) token_key: String,
    pub(crate) webhook_secret: String,
}

/// Product operations of all centers meet one saver while the view stands, so that what was written is read.
const KEY: u64 = 0;
const NAME: usize = 64;
const ROUTES: usize = 64;
const URL: usize = 2048;
/// Keys of a product that are accepted at once; a rotation beyond this drops the oldest.
const KEYS: usize = 8;
/// Changes without an expected revision are tried again this often if another came between.
const CHANGE_TRIES: usize = 5;
/// How long a change waits until this center works with it.
const SEEN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Ops {
    /// Creates a product under the given id, or one that the store chooses, with a key of each kind.
    pub(crate) async fn create_product(&self, id: Option<u32>, changes: Changes) -> Result<Created, Failure> {
        if id == Some(0) {
            return Err(Failure::invalid("a product's id is at least 1; leave it out to have one chosen"));
        }
        if changes.name.is_none() {
            return Err(Failure::invalid("a product needs a name"));
        }
        let (token_key, webhook_secret) = (secret("lltk_"), secret("llwh_"));
        let mut record = saver::Product {
            id: id.unwrap_or(0),
            token_keys: vec![token_key.clone().into_bytes()],
            webhook_secret: webhook_secret.clone().into_bytes(),
            ..saver::Product::default()
        };
        changes.apply(&mut record)?;
        let mut stored = self.write_product(record, 0).await?;
        // The key names the product, so the id is needed first.
        let key = ProductKey::generate(ProductId(stored.id));
        stored.keys = vec![stored_key(&key)];
        let (id, revision) = (stored.id, stored.revision);
        let record = self.write_product(stored, revision).await.map_err(|failure| {
            let message =
                format!("product {id} was created without a key ({}); rotate its key", failure.message);
            Failure { message, ..failure }
        })?;
        Ok(Created { record, key, token_key, webhook_secret })
    }

    /// Every product, by id, as this center works with them.
    pub(crate) fn list_products(&self) -> Result<Vec<Arc<Product>>, Failure> {
        if !*self.shared.products.loaded().borrow() {
            return Err(Error::unavailable("the products are not known here yet").into());
        }
        let mut products = self.shared.products.all();
        products.sort_by_key(|product| product.id);
        Ok(products)
    }

    /// One product.
    pub(crate) async fn read_product(&self, id: u32) -> Result<saver::Product, Failure> {
        let call = |channel| async move {
            let mut client = SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
            client.read_product(ReadProductRequest { id }).await
        };
        let read = self.shared.peers.unary(Role::Saver, KEY, self.shared.ask_timeout, call).await;
        read.map_err(|e| match e.code {
            ErrorCode::NotFound => Failure::not_found(format!("there is no product {id}")),
            _ => e.into(),
        })
    }

    /// Changes a product. With an expected revision, only if it is the stored one.
    pub(crate) async fn change_product(
        &self,
        id: u32,
        expected_revision: Option<u64>,
        changes: Changes,
    ) -> Result<saver::Product, Failure> {
        self.edit_product(id, expected_revision, |record| changes.apply(record)).await
    }

    /// Gives a product a new key. Its earlier keys end after the grace, or when they would have ended anyway.
    pub(crate) async fn rotate_key(
        &self,
        id: u32,
        grace: Duration,
    ) -> Result<(saver::Product, ProductKey), Failure> {
        let key = ProductKey::generate(ProductId(id));
        let record = self
            .edit_product(id, None, |record| {
                rotate(&mut record.keys, stored_key(&key), now_ms(), grace);
                Ok(())
            })
            .await?;
        Ok((record, key))
    }

    /// Gives a product a new token key. The one before stays accepted until the next rotation, unless `drop_old`.
    pub(crate) async fn rotate_token_key(
        &self,
        id: u32,
        drop_old: bool,
    ) -> Result<(saver::Product, String), Failure> {
        let key = secret("lltk_");
        let record = self
            .edit_product(id, None, |record| {
                record.token_keys.truncate(usize::from(!drop_old));
                record.token_keys.insert(0, key.clone().into_bytes());
                Ok(())
            })
            .await?;
        Ok((record, key))
    }

    /// Gives a product a new webhook secret, with which callbacks are signed from now on.
    pub(crate) async fn rotate_webhook_secret(&self, id: u32) -> Result<(saver::Product, String), Failure> {
        let webhook_secret = secret("llwh_");
        let record = self
            .edit_product(id, None, |record| {
                record.webhook_secret = webhook_secret.clone().into_bytes();
                Ok(())
            })
            .await?;
        Ok((record, webhook_secret))
    }

    /// Reads, edits and writes a product; again if another change came between and no revision was asked for.
    async fn edit_product(
        &self,
        id: u32,
        expected_revision: Option<u64>,
        edit: impl Fn(&mut saver::Product) -> Result<(), Failure>,
    ) -> Result<saver::Product, Failure> {
        let mut tries = 1;
        loop {
            let mut record = self.read_product(id).await?;
            let revision = record.revision;
            if let Some(expected) = expected_revision.filter(|expected| *expected != revision) {
                let message =
                    format!("product {id} is at revision {revision}, not {expected}; read it again");
                return Err(Failure::new(ErrorCode::Conflict, "revision_conflict", message));
            }
            edit(&mut record)?;
            match self.write_product(record, revision).await {
                Err(failure)
                    if failure.kind == ErrorCode::Conflict
                        && expected_revision.is_none()
                        && tries < CHANGE_TRIES =>
                {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn write_product(
        &self,
        product: saver::Product,
        expected_revision: u64,
    ) -> Result<saver::Product, Failure> {
        let request = WriteProductRequest { product: Some(product), expected_revision };
        let call = |channel| {
            let request = request.clone();
            async move {
                let mut client = SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
                client.write_product(request).await
            }
        };
        let stored = self.shared.peers.unary(Role::Saver, KEY, self.shared.put_timeout, call).await?;
        self.wait_until_seen(&stored).await;
        Ok(stored)
    }

    /// Waits a moment until this center works with the change, so that who made it can go on with it at once.
    async fn wait_until_seen(&self, stored: &saver::Product) {
        let id = ProductId(stored.id);
        let until = Instant::now() + SEEN;
        while self.shared.products.get(id).is_none_or(|seen| seen.revision < stored.revision)
            && Instant::now() < until
        {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Changes {
    /// Makes the changes, after a check of each.
    fn apply(&self, record: &mut saver::Product) -> Result<(), Failure> {
        if let Some(name) = &self.name {
            record.name = checked_name(name)?.to_owned();
        }
        record.disabled = self.disabled.unwrap_or(record.disabled);
        record.require_token = self.require_token.unwrap_or(record.require_token);
        self.inbox_limit.number("inbox_limit", 1..=100_000, &mut record.inbox_limit)?;
        self.window.number("window", 1..=1024, &mut record.window)?;
        self.ack_timeout_s.number("ack_timeout_seconds", 1..=3600, &mut record.ack_timeout_s)?;
        self.default_ttl_s.number("default_ttl_seconds", 1..=MAX_TTL_S, &mut record.default_ttl_s)?;
        self.max_ttl_s.number("max_ttl_seconds", 1..=MAX_TTL_S, &mut record.max_ttl_s)?;
        check_ttls(record)?;
        match &self.durability {
            Field::Keep => {}
            Field::Reset => record.durability = types::Durability::Unspecified.into(),
            Field::Set(durability) => record.durability = types::Durability::from(*durability).into(),
        }
        self.max_heartbeat_s.number("max_heartbeat_seconds", 10..=3600, &mut record.max_heartbeat_s)?;
        match &self.slow_reader {
            Field::Keep => {}
            Field::Reset => record.slow_reader = saver::SlowReader::Unspecified.into(),
            Field::Set(slow_reader) => record.slow_reader = saver::SlowReader::from(*slow_reader).into(),
        }
        self.max_queued_bytes.number("max_queued_bytes", QUEUED, &mut record.max_queued_bytes)?;
        if let Some(routes) = &self.routes {
            record.routes = checked_routes(routes)?;
        }
        match &self.presence_url {
            Field::Keep => {}
            Field::Reset => record.presence_url.clear(),
            Field::Set(url) => record.presence_url = checked_url("presence_url", url)?.to_owned(),
        }
        Ok(())
    }
}

/// Fewer could not hold a message of some size beside another; more than this no room allows.
const QUEUED: std::ops::RangeInclusive<u32> = 4096..=16 * 1024 * 1024;
/// A year.
const MAX_TTL_S: u32 = 365 * 24 * 60 * 60;

impl<T> Field<T> {
    /// The same field with another type of value.
    pub(crate) fn map<U>(self, of: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Field::Keep => Field::Keep,
            Field::Reset => Field::Reset,
            Field::Set(value) => Field::Set(of(value)),
        }
    }
}

impl Field<u32> {
    fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
        stored: &mut u32,
    ) -> Result<(), Failure> {
        match self {
            Field::Keep => Ok(()),
            Field::Reset => {
                *stored = 0;
                Ok(())
            }
            Field::Set(value) if range.contains(value) => {
                *stored = *value;
                Ok(())
            }
            Field::Set(value) => {
                let (from, to) = range.into_inner();
                Err(Failure::invalid(format!("{name} is {from} to {to}, not {value}; null sets the default")))
            }
        }
    }
}

/// The default is within the limit, each as it is or by default.
fn check_ttls(record: &saver::Product) -> Result<(), Failure> {
    let longest = match record.max_ttl_s {
        0 => DEFAULT_MAX_TTL.as_secs(),
        seconds => seconds.into(),
    };
    if u64::from(record.default_ttl_s) > longest {
        return Err(Failure::invalid(format!("default_ttl_seconds is at most max_ttl_seconds ({longest})")));
    }
    Ok(())
}

fn checked_name(name: &str) -> Result<&str, Failure> {
    let fits = (1..=NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits && name.trim() == name {
        return Ok(name);
    }
    Err(Failure::invalid("a product's name has 1 to 64 bytes, no control characters, and no space around it"))
}

fn checked_routes(routes: &[RouteChange]) -> Result<Vec<UplinkRoute>, Failure> {
    if routes.len() > ROUTES {
        return Err(Failure::invalid(format!("a product has at most {ROUTES} routes, not {}", routes.len())));
    }
    let mut checked: Vec<UplinkRoute> = Vec::with_capacity(routes.len());
    for route in routes {
        if checked.iter().any(|other| other.number == route.number) {
            return Err(Failure::invalid(format!("route {} is given twice", route.number)));
        }
        let url = checked_url("a route's url", &route.url)?.to_owned();
        checked.push(UplinkRoute { number: route.number, url });
    }
    Ok(checked)
}

fn checked_url<'a>(what: &str, url: &'a str) -> Result<&'a str, Failure> {
    let refuse = |why: &str| Failure::invalid(format!("{what} {why}: {url:?}"));
    if url.len() > URL {
        return Err(Failure::invalid(format!("{what} has at most {URL} bytes")));
    }
    let uri: http::Uri = url.parse().map_err(|_| refuse("is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refuse("begins with http:// or https://"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(refuse("names a host"));
    }
    Ok(url)
}

/// Puts the new key in front. Earlier ones end after the grace at the latest; those that have ended go.
fn rotate(keys: &mut Vec<saver::ProductKey>, new: saver::ProductKey, now_ms: TimeMs, grace: Duration) {
    let ends_at_ms = now_ms.saturating_add(grace.as_millis() as u64);
    for key in keys.iter_mut() {
        let ends = if key.expires_at_ms == 0 { ends_at_ms } else { key.expires_at_ms.min(ends_at_ms) };
        key.expires_at_ms = ends;
    }
    keys.retain(|key| key.expires_at_ms > now_ms);
    keys.insert(0, new);
    keys.truncate(KEYS);
}

fn stored_key(key: &ProductKey) -> saver::ProductKey {
    saver::ProductKey { sha256: key.sha256().to_vec(), expires_at_ms: 0 }
}

/// A secret of 256 random bits, as text; its bytes are the key.
fn secret(prefix: &str) -> String {
    let mut bytes = [0u8; 32];
    rand::fill(&mut bytes);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: Changes) -> Result<saver::Product, Failure> {
        let mut record = saver::Product { name: "shop".into(), window: 7, ..saver::Product::default() };
        changes.apply(&mut record).map(|()| record)
    }

    #[test]
    fn only_what_is_named_changes() {
        let record = changed(Changes { inbox_limit: Field::Set(5), ..Changes::default() }).unwrap();
        assert_eq!((record.inbox_limit, record.window, record.name.as_str()), (5, 7, "shop"));
        let record = changed(Changes { window: Field::Reset, ..Changes::default() }).unwrap();
        assert_eq!(record.window, 0, "back to the default");
    }

    #[test]
    fn every_field_is_checked() {
        let url = |url: &str| RouteChange { number: 1, url: url.into() };
        let wrong = [
            Changes { name: Some(String::new()), ..Changes::default() },
            Changes { name: Some("x".repeat(65)), ..Changes::default() },
            Changes { name: Some(" x".into()), ..Changes::default() },
            Changes { name: Some("a\nb".into()), ..Changes::default() },
            Changes { inbox_limit: Field::Set(0), ..Changes::default() },
            Changes { window: Field::Set(1025), ..Changes::default() },
            Changes { ack_timeout_s: Field::Set(3601), ..Changes::default() },
            Changes { max_heartbeat_s: Field::Set(9), ..Changes::default() },
            Changes { max_queued_bytes: Field::Set(4095), ..Changes::default() },
            Changes { max_ttl_s: Field::Set(u32::MAX), ..Changes::default() },
            Changes { default_ttl_s: Field::Set(11), max_ttl_s: Field::Set(10), ..Changes::default() },
            Changes { routes: Some(vec![url("ftp://x/")]), ..Changes::default() },
            Changes { routes: Some(vec![url("/path")]), ..Changes::default() },
            Changes { routes: Some(vec![url("http://a/"), url("http://b/")]), ..Changes::default() },
            Changes { presence_url: Field::Set("nonsense".into()), ..Changes::default() },
        ];
        for changes in wrong {
            let failure = changed(changes.clone()).unwrap_err();
            assert_eq!(failure.kind, ErrorCode::InvalidArgument, "{changes:?}");
        }
        assert!(
            changed(Changes { routes: Some(vec![url("https://a.example/x")]), ..Changes::default() }).is_ok()
        );
    }

    #[test]
    fn a_rotation_keeps_the_old_keys_for_the_grace_only() {
        let key = |n: u8, expires_at_ms| saver::ProductKey { sha256: vec![n], expires_at_ms };
        let mut keys = vec![key(1, 0), key(2, 1500), key(3, 9_000), key(4, 900)];
        rotate(&mut keys, key(5, 0), 1000, Duration::from_secs(2));
        assert_eq!(keys, [key(5, 0), key(1, 3000), key(2, 1500), key(3, 3000)]);
        rotate(&mut keys, key(6, 0), 1000, Duration::ZERO);
        assert_eq!(keys, [key(6, 0)], "without grace the old ones end at once");
    }

    #[test]
    fn secrets_are_text_of_256_random_bits() {
        assert_eq!(secret("lltk_").len(), 5 + 43);
        assert_ne!(secret(""), secret(""));
    }
}
