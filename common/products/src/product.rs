use std::collections::HashMap;
use std::time::Duration;

use longline_auth::{ProductKey, StoredKey, TokenKeys};
use longline_pb::saver;
use longline_types::{Durability, ProductId, SlowReader, TimeMs};

/// Waiting messages of an address, where the product says nothing.
pub const DEFAULT_INBOX_LIMIT: u32 = 1000;
/// Messages in flight on a bind, where the product says nothing.
pub const DEFAULT_WINDOW: u32 = 64;
/// Time for an acknowledgement, where the product says nothing.
pub const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Life of a message that names none, where the product says nothing.
pub const DEFAULT_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Longest life of a message, where the product says nothing.
pub const DEFAULT_MAX_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A product as the services use it: read once from its record, with the defaults in place of zeros.
#[derive(Clone, Debug)]
pub struct Product {
    /// Its number.
    pub id: ProductId,
    /// Unique, for people.
    pub name: String,
    /// Rises with each change of the record.
    pub revision: u64,
    /// Binds and API calls are refused.
    pub disabled: bool,
    /// Any of them is accepted, until it expires.
    pub keys: Vec<StoredKey>,
    /// Whether a bind needs a user token.
    pub require_token: bool,
    /// What user tokens are checked with.
    pub token_keys: TokenKeys,
    /// Waiting messages of an address; the oldest beyond it end as overflowed.
    pub inbox_limit: u32,
    /// Messages in flight on a bind.
    pub window: u32,
    /// How long a pushed message may stay unacknowledged before its bind stalls.
    pub ack_timeout: Duration,
    /// Life of a message that names none; at most [`Product::max_ttl`].
    pub default_ttl: Duration,
    /// Longest life that a message may ask for.
    pub max_ttl: Duration,
    /// What "stored" promises, where a message asks for nothing else.
    pub durability: Durability,
    /// Longest heartbeat interval, for products that want to know quickly who is gone.
    pub max_heartbeat: Option<Duration>,
    /// What becomes of a session whose device does not read as fast as messages come.
    pub slow_reader: SlowReader,
    /// Unwritten bytes of a session up to which its messages are queued; none: as many as the room allows, which is never more.
    pub max_queued_bytes: Option<u32>,
    /// Where uplinks go, by route number.
    pub routes: HashMap<u32, String>,
    /// Where presence goes; none: nobody wants to know.
    pub presence_url: Option<String>,
    /// Key of the signatures of all callbacks.
    pub webhook_secret: Vec<u8>,
    /// When the product was created.
    pub created_at_ms: TimeMs,
    /// When its record last changed.
    pub changed_at_ms: TimeMs,
}

impl Product {
    /// Reads a stored record. Stored digests that are no SHA-256 are left out: nothing could fit them.
    pub fn from_record(record: saver::Product) -> Product {
        let durability = record.durability().into();
        let slow_reader = record.slow_reader().into();
        let max_ttl = seconds_or(record.max_ttl_s, DEFAULT_MAX_TTL);
        Product {
            id: ProductId(record.id),
            name: record.name,
            revision: record.revision,
            disabled: record.disabled,
            keys: record.keys.iter().filter_map(stored_key).collect(),
            require_token: record.require_token,
            token_keys: TokenKeys::new(&record.token_keys),
            inbox_limit: number_or(record.inbox_limit, DEFAULT_INBOX_LIMIT),
            window: number_or(record.window, DEFAULT_WINDOW),
            ack_timeout: seconds_or(record.ack_timeout_s, DEFAULT_ACK_TIMEOUT),
            default_ttl: seconds_or(record.default_ttl_s, DEFAULT_TTL).min(max_ttl),
            max_ttl,
            durability,
            max_heartbeat: (record.max_heartbeat_s > 0)
                .then(|| Duration::from_secs(record.max_heartbeat_s.into())),
            slow_reader,
            max_queued_bytes: Some(record.max_queued_bytes).filter(|bytes| *bytes > 0),
            routes: record.routes.into_iter().map(|route| (route.number, route.url)).collect(),
            presence_url: Some(record.presence_url).filter(|url| !url.is_empty()),
            webhook_secret: record.webhook_secret,
            created_at_ms: record.created_at_ms,
            changed_at_ms: record.changed_at_ms,
        }
    }

    /// Whether this is one of the product's keys, and not expired.
    pub fn accepts_key(&self, key: &ProductKey, now_ms: TimeMs) -> bool {
        key.product() == self.id && key.is_accepted(&self.keys, now_ms)
    }
}

fn stored_key(key: &saver::ProductKey) -> Option<StoredKey> {
    let sha256 = key.sha256.as_slice().try_into().ok()?;
    Some(StoredKey { sha256, expires_at_ms: key.expires_at_ms })
}

fn number_or(number: u32, default: u32) -> u32 {
    if number == 0 { default } else { number }
}

fn seconds_or(seconds: u32, default: Duration) -> Duration {
    if seconds == 0 { default } else { Duration::from_secs(seconds.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_become_the_defaults() {
        let product = Product::from_record(saver::Product { id: 7, ..Default::default() });
        assert_eq!((product.inbox_limit, product.window), (1000, 64));
        assert_eq!(product.ack_timeout, Duration::from_secs(30));
        assert_eq!(product.default_ttl, Duration::from_secs(604_800));
        assert_eq!(product.max_ttl, Duration::from_secs(2_592_000));
        assert_eq!(product.durability, Durability::Synced);
        assert_eq!((product.max_heartbeat, product.presence_url), (None, None));
        assert_eq!((product.slow_reader, product.max_queued_bytes), (SlowReader::Inbox, None));
    }

    #[test]
    fn what_is_set_is_kept() {
        let product = Product::from_record(saver::Product {
            id: 7,
            inbox_limit: 5,
            max_ttl_s: 60,
            max_heartbeat_s: 60,
            durability: longline_pb::types::Durability::Fast.into(),
            slow_reader: saver::SlowReader::Close.into(),
            max_queued_bytes: 8192,
            routes: vec![saver::UplinkRoute { number: 3, url: "http://x/".into() }],
            ..Default::default()
        });
        assert_eq!(product.inbox_limit, 5);
        assert_eq!(product.default_ttl, Duration::from_secs(60), "never longer than the longest");
        assert_eq!(product.max_heartbeat, Some(Duration::from_secs(60)));
        assert_eq!(product.durability, Durability::Fast);
        assert_eq!((product.slow_reader, product.max_queued_bytes), (SlowReader::Close, Some(8192)));
        assert_eq!(product.routes[&3], "http://x/");
    }

    #[test]
    fn a_key_is_accepted_by_its_own_product_only() {
        let key = ProductKey::generate(ProductId(7));
        let keys = vec![
            saver::ProductKey { sha256: vec![1, 2, 3], expires_at_ms: 0 },
            saver::ProductKey { sha256: key.sha256().to_vec(), expires_at_ms: 100 },
        ];
        let product =
            Product::from_record(saver::Product { id: 7, keys: keys.clone(), ..Default::default() });
        assert!(product.accepts_key(&key, 99));
        assert!(!product.accepts_key(&key, 100));
        let other = Product::from_record(saver::Product { id: 8, keys, ..Default::default() });
        assert!(!other.accepts_key(&key, 99));
    }
}
