//! The conformance suite and the model against a real redis-server and mariadbd. What happens when these fail is in `tests/cluster.rs`.

use longline_testkit::{MariaDb, RedisServer, Scratch};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::{Cluster, Config};
use crate::store::suite::{conformance, model};

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
