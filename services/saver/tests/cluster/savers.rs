//! Two savers on the same databases.

use longline_saver::store::cluster::Cluster;
use longline_saver::store::{Idempotency, Put, Store as _};
use longline_testkit::{Restart, eventually};
use longline_types::{Durability, MessageState};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_store_one_key_one_wins_s1() {
    let servers = Servers::start().await;
    let (a, b) = (servers.store().await, servers.store().await);
    for durability in [Durability::Synced, Durability::Fast] {
        for round in 0..20 {
            let address = user(round);
            let keyed = || Put {
                idempotency: Some(Idempotency { key: format!("{durability:?}-{round}"), digest: [1; 16] }),
                ..put(&address, durability)
            };
            let (x, y) = tokio::join!(store_one(&a, keyed()), store_one(&b, keyed()));
            let (x, y) = (x.unwrap(), y.unwrap());
            assert_eq!(x.id, y.id);
            assert!(x.repeated != y.repeated, "one of the two stored it");
            assert!(waiting(&b, &address).await.contains(&x.id));
        }
    }
    for round in 0..20 {
        assert_eq!(waiting(&a, &user(round)).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_ack_and_a_recall_one_wins_s5() {
    let servers = Servers::start().await;
    let (a, b) = (servers.store().await, servers.store().await);
    for durability in [Durability::Synced, Durability::Fast] {
        for _ in 0..20 {
            let address = user(0);
            let id = store_one(&a, put(&address, durability)).await.unwrap().id;
            let (acked, recalled) = tokio::join!(ack(&a, &address, id), b.recall(PRODUCT, id));
            let (acked, recalled) = (acked.unwrap(), recalled.unwrap().unwrap());
            assert!(acked != recalled.recalled, "exactly one of them ended it");
            let expected = if acked { MessageState::Acked } else { MessageState::Recalled };
            assert_eq!((state(&b, id).await, recalled.state), (Some(expected), expected));
            assert!(waiting(&a, &address).await.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_keeps_its_newest_whoever_stores_s3() {
    let servers = Servers::start().await;
    let (a, b) = (servers.saver().await, servers.saver().await);
    let address = user(0);
    let writer = |store: Cluster| {
        let address = address.clone();
        tokio::spawn(async move {
            let mut overflowed = 0;
            for _ in 0..50 {
                let limited = Put { inbox_limit: 10, ..put(&address, Durability::Synced) };
                overflowed += store_one(&store, limited).await.unwrap().overflowed;
            }
            overflowed
        })
    };
    let (x, y) = (writer(a.store.clone()), writer(b.store.clone()));
    assert_eq!(x.await.unwrap() + y.await.unwrap(), 90, "each overflow is counted once");
    let left = waiting(&a.store, &address).await;
    assert_eq!(left.len(), 10);
    let expected = [(MessageState::Waiting, 10), (MessageState::Overflowed, 90)];
    assert_eq!(a.store.account(None).await.unwrap().counts, expected, "I3");
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_refill_an_emptied_redis_side_by_side_s4() {
    let mut servers = Servers::start().await;
    let (a, b) = (servers.saver().await, servers.saver().await);
    let messages = store_many(&a.store, 300, Durability::Synced).await;
    servers.redis.restart(Restart::Emptied).await.unwrap();
    let (first, second) = messages.split_at(150);
    tokio::join!(all_wait(&a.store, first), all_wait(&b.store, second));
    b.kill().await;
    all_wait(&a.store, &messages).await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_that_one_stored_is_known_to_the_other_s8() {
    let servers = Servers::start().await;
    let (a, b) = (servers.store().await, servers.store().await);
    assert!(waiting(&b, &user(0)).await.is_empty());
    let broadcast = longline_saver::store::PutBroadcast {
        product: PRODUCT,
        message: put(&user(0), Durability::Synced).message,
        rate_per_second: 0,
        idempotency: None,
    };
    let stored = a.put_broadcast(broadcast).await.unwrap();
    // A room that knows of it makes an older cache look again at once.
    let known = longline_saver::store::Load { known_broadcast: stored.seq, ..load(&user(0)) };
    let page = b.load(vec![known]).await.remove(0).unwrap();
    assert_eq!(page.messages.iter().map(|m| m.broadcast_seq).collect::<Vec<_>>(), [stored.seq]);
    eventually(SOON, "others learn of it by themselves", async || {
        waiting(&b, &user(0)).await.contains(&stored.id)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savers_that_start_together_bring_the_schema_up_to_date_in_turns() {
    let servers = Servers::start().await;
    let starts = (0..6).map(|_| {
        let config = servers.config.clone();
        tokio::spawn(async move { Cluster::open(&config).await.map(drop) })
    });
    for started in starts.collect::<Vec<_>>() {
        started.await.unwrap().unwrap();
    }
}
