//! Servers, stores and short ways to use them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longline_pb::types::{Class, Message};
use longline_saver::store::cluster::{Cluster, Config};
use longline_saver::store::{Ack, Load, Put, Store as _, Stored};
use longline_testkit::{MariaDb, RedisServer, Scratch, eventually, eventually_some};
use longline_types::{Address, Durability, Error, MessageId, MessageState, ProductId, now_ms};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(40);

pub(crate) const PRODUCT: ProductId = ProductId(1);

/// A Redis and a MySQL that may be broken.
pub(crate) struct Servers {
    pub(crate) redis: RedisServer,
    pub(crate) mariadb: MariaDb,
    pub(crate) config: Config,
    _scratch: Scratch,
}

impl Servers {
    pub(crate) async fn start() -> Servers {
        let scratch = Scratch::new().unwrap();
        let redis = RedisServer::start(&scratch).await.unwrap();
        let mariadb = MariaDb::start(&scratch).await.unwrap();
        let config = Config {
            redis: redis.url(),
            mysql: vec![mariadb.create_database().await.unwrap()],
            mysql_connections: 6,
            redis_timeout_ms: 2_000,
            mysql_timeout_ms: 3_000,
            partition_days: 2,
            ..Config::default()
        };
        Servers { redis, mariadb, config, _scratch: scratch }
    }

    /// A store without background work.
    pub(crate) async fn store(&self) -> Cluster {
        Cluster::open(&self.config).await.unwrap()
    }

    /// A store with background work.
    pub(crate) async fn saver(&self) -> Saver {
        let (store, stop) = (self.store().await, CancellationToken::new());
        let work = tokio::spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move { store.run(stop).await }
        });
        Saver { store, stop, work }
    }
}

/// A store at work.
pub(crate) struct Saver {
    pub(crate) store: Cluster,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

impl Saver {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.work.await.unwrap();
    }

    /// Ends its work where it stands, as a crash does.
    pub(crate) async fn kill(self) {
        self.work.abort();
        assert!(self.work.await.is_err_and(|e| e.is_cancelled()));
    }
}

pub(crate) fn user(number: u64) -> Address {
    Address::new(PRODUCT.0, &format!("user-{number}")).unwrap()
}

/// A rising id of now, unique in the test process.
pub(crate) fn new_id() -> MessageId {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    const EPOCH_MS: u64 = 1_735_689_600_000;
    MessageId((now_ms() - EPOCH_MS) << 22 | (COUNTER.fetch_add(1, Ordering::Relaxed) & 0x3f_ffff))
}

pub(crate) fn put(address: &Address, durability: Durability) -> Put {
    Put {
        address: address.clone(),
        message: Message {
            id: new_id().0,
            payload: Bytes::from_static(b"hello"),
            sent_at_ms: now_ms(),
            expires_at_ms: now_ms() + 600_000,
            class: Class::Durable.into(),
            ..Message::default()
        },
        idempotency: None,
        collapse_key: None,
        durability,
        inbox_limit: 10_000,
    }
}

pub(crate) async fn store_one(store: &Cluster, put: Put) -> Result<Stored, Error> {
    store.put(vec![put], 1).await.remove(0)
}

/// Stores one for each of so many users; their ids.
pub(crate) async fn store_many(
    store: &Cluster,
    users: u64,
    durability: Durability,
) -> Vec<(Address, MessageId)> {
    let puts: Vec<Put> = (0..users).map(|u| put(&user(u), durability)).collect();
    let named: Vec<_> = puts.iter().map(|p| (p.address.clone(), MessageId(p.message.id))).collect();
    for (group, names) in puts.chunks(100).zip(named.chunks(100)) {
        let stored = store.put(group.to_vec(), 1).await;
        for ((_, id), stored) in names.iter().zip(stored) {
            assert_eq!(stored.unwrap().id, *id);
        }
    }
    named
}

pub(crate) fn load(address: &Address) -> Load {
    Load {
        address: address.clone(),
        limit: 256,
        max_bytes: 1 << 20,
        except: Vec::new(),
        known_broadcast: 0,
        seen_broadcast: 0,
    }
}

/// What waits for an address, read page by page; waits while a database is away.
pub(crate) async fn waiting(store: &Cluster, address: &Address) -> BTreeSet<MessageId> {
    let mut ids = BTreeSet::new();
    loop {
        let request = Load { except: ids.iter().copied().collect(), ..load(address) };
        let page = eventually_some(SOON, "the inbox can be read", async || {
            store.load(vec![request.clone()]).await.remove(0).ok()
        })
        .await;
        ids.extend(page.messages.iter().map(|m| MessageId(m.id)));
        if !page.more {
            return ids;
        }
    }
}

/// Each of these waits for its address, and nothing else.
pub(crate) async fn all_wait(store: &Cluster, messages: &[(Address, MessageId)]) {
    for (address, id) in messages {
        assert_eq!(waiting(store, address).await, BTreeSet::from([*id]), "{address}");
    }
}

pub(crate) async fn ack(store: &Cluster, address: &Address, id: MessageId) -> Result<bool, Error> {
    let ack = Ack { address: address.clone(), id, broadcast_seq: 0, written_at_ms: 5, room: 3 };
    store.ack(vec![ack]).await.remove(0)
}

pub(crate) async fn state(store: &Cluster, id: MessageId) -> Option<MessageState> {
    let record = store.message(PRODUCT, id).await.ok()??;
    longline_pb::convert::message_state(record.state)
}

/// Waits until every slot's mark is the run id of the Redis that runs now.
pub(crate) async fn filled(servers: &Servers) {
    let info = servers.redis.command(&["INFO", "server"]).unwrap();
    let run_id = info.lines().find_map(|l| l.strip_prefix("run_id:")).unwrap().to_owned();
    let count = format!(
        "local n = 0 for s = 0, 4095 do if redis.call('GET', 'll:{{' .. s .. '}}:f') == '{run_id}' then n = n + 1 end end return n"
    );
    eventually(SOON, "all slots are filled", async || {
        servers.redis.command(&["EVAL", &count, "0"]).unwrap().starts_with(":4096")
    })
    .await;
}
