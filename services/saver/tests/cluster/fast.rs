//! Messages stored `fast` (S2).

use longline_saver::store::{Idempotency, Put, Store as _};
use longline_testkit::{Restart, eventually};
use longline_types::{Durability, ErrorCode, MessageState};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_survive_a_saver_that_dies_before_the_flush_s2() {
    let mut servers = Servers::start().await;
    let dead = servers.store().await;
    let messages = store_many(&dead, 300, Durability::Fast).await;
    drop(dead);
    assert_eq!(rows(&servers).await, "0", "nothing was flushed yet");
    let other = servers.saver().await;
    eventually(SOON, "the other saver flushes them", async || rows(&servers).await == "300").await;
    servers.redis.restart(Restart::Emptied).await.unwrap();
    all_wait(&other.store, &messages).await;
    other.stop().await;
}

/// Rows of messages in MySQL.
async fn rows(servers: &Servers) -> String {
    servers.mariadb.execute("SELECT COUNT(*) FROM longline_0.messages").await.unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_survive_a_redis_that_loses_them_before_the_flush_s2() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    store_many(&saver.store, 1, Durability::Synced).await;
    // So that nothing can be flushed before Redis is emptied.
    servers.mariadb.kill().unwrap();
    let address = user(0);
    let id = store_one(&saver.store, put(&address, Durability::Fast)).await.unwrap().id;
    servers.redis.restart(Restart::Emptied).await.unwrap();
    servers.mariadb.restart().await.unwrap();
    eventually(SOON, "the message is found again", async || {
        waiting(&saver.store, &address).await.contains(&id)
    })
    .await;
    saver.stop().await;
}

/// Redis is emptied and filled again before the flush, so no later fill would bring the message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flush_brings_back_what_redis_has_lost_s2() {
    let servers = Servers::start().await;
    let filler = servers.saver().await;
    let store = servers.store().await;
    let id = store_one(&store, put(&user(0), Durability::Fast)).await.unwrap().id;
    servers.redis.command(&["FLUSHALL"]).unwrap();
    filled(&servers).await;
    assert!(waiting(&store, &user(0)).await.is_empty(), "only the memory of a saver has it");
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    store.run(stop).await;
    assert!(waiting(&store, &user(0)).await.contains(&id));
    filler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_before_the_flush_is_final_s2() {
    let servers = Servers::start().await;
    let store = servers.store().await;
    let request = put(&user(0), Durability::Fast);
    let id = store_one(&store, request.clone()).await.unwrap().id;
    assert_eq!(rows(&servers).await, "0");
    assert_eq!(ack(&store, &user(0), id).await, Ok(true));
    assert_eq!(state(&store, id).await, Some(MessageState::Acked));
    // The late write: this store's memory still has the row.
    let again = store_one(&store, request).await.unwrap();
    assert_eq!((again.repeated, again.state), (true, MessageState::Acked));
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    store.run(stop).await;
    assert_eq!(state(&store, id).await, Some(MessageState::Acked));
    assert!(waiting(&store, &user(0)).await.is_empty());
    assert_eq!(store.account(None).await.unwrap().counts, [(MessageState::Acked, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_finds_them_before_the_flush_s2() {
    let servers = Servers::start().await;
    let store = servers.store().await;
    let id = store_one(&store, put(&user(0), Durability::Fast)).await.unwrap().id;
    assert!(store.recall(PRODUCT, id).await.unwrap().unwrap().recalled);
    assert!(waiting(&store, &user(0)).await.is_empty());
    assert_eq!(state(&store, id).await, Some(MessageState::Recalled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_holds_across_both_ways_of_storing_s1() {
    let servers = Servers::start().await;
    let store = servers.store().await;
    let keyed = |durability, digest| Put {
        idempotency: Some(Idempotency { key: "k".into(), digest: [digest; 16] }),
        ..put(&user(0), durability)
    };
    let first = store_one(&store, keyed(Durability::Fast, 1)).await.unwrap();
    for durability in [Durability::Fast, Durability::Synced] {
        let retry = store_one(&store, keyed(durability, 1)).await.unwrap();
        assert_eq!((retry.id, retry.repeated), (first.id, true), "{durability:?}");
        assert_eq!(store_one(&store, keyed(durability, 2)).await.unwrap_err().code, ErrorCode::Conflict);
    }
    assert_eq!(waiting(&store, &user(0)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_they_push_out_is_settled_when_the_database_is_back_s3() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    store_many(&saver.store, 1, Durability::Synced).await;
    let old = waiting(&saver.store, &user(0)).await;
    let collapsing = || Put { collapse_key: Some("score".into()), ..put(&user(0), Durability::Fast) };
    servers.mariadb.kill().unwrap();
    let first = store_one(&saver.store, collapsing()).await.unwrap().id;
    let second = store_one(&saver.store, collapsing()).await.unwrap().id;
    let now: Vec<_> =
        waiting(&saver.store, &user(0)).await.into_iter().filter(|id| !old.contains(id)).collect();
    assert_eq!(now, [second], "loads and fast puts go on without MySQL");
    servers.mariadb.restart().await.unwrap();
    eventually(SOON, "the older is collapsed", async || {
        state(&saver.store, first).await == Some(MessageState::Collapsed)
    })
    .await;
    assert_eq!(state(&saver.store, second).await, Some(MessageState::Waiting));
    saver.stop().await;
}
