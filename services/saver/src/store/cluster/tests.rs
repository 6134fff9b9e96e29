//! The conformance suite and the model against a real redis-server and mariadbd. What happens when these fail is in `tests/cluster.rs`.

use longline_pb::types::Message;
use longline_testkit::{MariaDb, RedisServer, Scratch};
use longline_types::{Address, Durability, MessageId, now_ms};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::row::Row;
use super::{Cluster, Config};
use crate::store::suite::{conformance, model};
use crate::store::{Ack, Put, Store as _};

/// What must live as long as the store does.
struct Guard {
    _redis: RedisServer,
    _scratch: Scratch,
}

async fn open() -> (Cluster, Guard) {
    let scratch = Scratch::new().unwrap();
    let redis = RedisServer::start(&scratch).await.unwrap();
    let database = MariaDb::shared().await.unwrap().create_database().await.unwrap();
    let config = Config {
        redis: redis.url(),
        mysql: vec![database],
        mysql_connections: 4,
        partition_days: 2,
        ..Config::default()
    };
    let store = Cluster::open(&config).await.unwrap();
    (store, Guard { _redis: redis, _scratch: scratch })
}

conformance!(open);

/// Each run needs servers of its own, so there are few, and no shrinking: the seed is fixed and the step is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_match_the_model() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..8 {
        let operations = model::operations().new_tree(&mut runner).unwrap().current();
        let (store, _guard) = open().await;
        model::matches_the_model(&store, operations).await;
    }
}

/// A fill reads a row that waits; it is acknowledged, which Redis has nothing to do for; then the fill adds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_while_it_was_being_added_is_taken_out_again_s4() {
    let (store, _guard) = open().await;
    let address = Address::new(1, "alice").unwrap();
    let put = Put {
        address: address.clone(),
        message: Message { id: 77, expires_at_ms: now_ms() + 600_000, ..Message::default() },
        idempotency: None,
        collapse_key: None,
        durability: Durability::Synced,
        inbox_limit: 0,
    };
    store.put(vec![put.clone()], 1).await.remove(0).unwrap();
    let row = Row::new(put, now_ms(), 1);
    let ack =
        Ack { address: address.clone(), id: MessageId(77), broadcast_seq: 0, written_at_ms: 0, room: 1 };
    assert_eq!(store.ack(vec![ack]).await, [Ok(true)]);
    let link = store.core.redis.link().await.unwrap();
    store.core.add(&link, &[row]).await.unwrap();
    assert_eq!(store.inbox(&address).await.unwrap().waiting, 0);
}
