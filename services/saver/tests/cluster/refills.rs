//! Redis that has lost something (S4).

use std::collections::BTreeSet;

use longline_testkit::Restart;
use longline_types::{Durability, MessageState};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_loses_nothing_even_before_it_is_refilled_s4() {
    let mut servers = Servers::start().await;
    let store = servers.store().await;
    let messages = store_many(&store, 200, Durability::Synced).await;
    servers.redis.restart(Restart::Emptied).await.unwrap();
    all_wait(&store, &messages).await;
    let (address, id) = &messages[0];
    assert_eq!(ack(&store, address, *id).await, Ok(true));
    servers.redis.restart(Restart::Emptied).await.unwrap();
    all_wait(&store, &messages[1..]).await;
    assert!(waiting(&store, address).await.is_empty(), "what was acknowledged does not come again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_refilled_behind_the_scenes_s4() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    filled(&servers).await;
    let messages = store_many(&saver.store, 700, Durability::Synced).await;
    servers.redis.restart(Restart::Emptied).await.unwrap();
    filled(&servers).await;
    // MySQL is not needed to read any of them.
    servers.mariadb.kill().unwrap();
    for (address, id) in &messages {
        let keys = servers
            .redis
            .command(&["HKEYS", &format!("ll:{{{}}}:i:{address}", address.slot()).replace('/', ":")]);
        assert!(keys.unwrap().contains(&format!("m{:016x}", id.0)), "{address} is in Redis");
    }
    saver.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_of_the_last_second_loses_nothing_s4() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    filled(&servers).await;
    let before = store_many(&saver.store, 50, Durability::Synced).await;
    let kept = servers.redis.append_bytes().unwrap();
    let address = &before[0].0;
    assert_eq!(ack(&saver.store, address, before[0].1).await, Ok(true));
    let late = put(address, Durability::Synced);
    let late_id = store_one(&saver.store, late).await.unwrap().id;
    let lost = servers.redis.append_bytes().unwrap() - kept;
    servers.redis.restart(Restart::Truncated(lost)).await.unwrap();
    all_wait(&saver.store, &before[1..]).await;
    let found = waiting(&saver.store, address).await;
    assert!(found.contains(&late_id), "the put that Redis forgot");
    // The acknowledgement that Redis forgot may bring the message again, with its id; then it ends for good.
    for id in found {
        ack(&saver.store, address, id).await.unwrap();
    }
    assert!(waiting(&saver.store, address).await.is_empty());
    assert_eq!(state(&saver.store, before[0].1).await, Some(MessageState::Acked));
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushall_by_an_operator_loses_nothing_s4() {
    let servers = Servers::start().await;
    let saver = servers.saver().await;
    filled(&servers).await;
    let mut messages = store_many(&saver.store, 100, Durability::Synced).await;
    messages.extend(
        store_many(&saver.store, 1, Durability::Fast).await.into_iter().map(|(_, id)| (user(1000), id)),
    );
    messages.pop();
    servers.redis.command(&["FLUSHALL"]).unwrap();
    servers.redis.command(&["SCRIPT", "FLUSH"]).unwrap();
    for (address, id) in &messages {
        assert!(
            waiting(&saver.store, address).await.contains(id),
            "{address}, with the same run id as before"
        );
    }
    filled(&servers).await;
    saver.stop().await;
}

/// Acknowledgements and fills race; in the end nothing that was acknowledged is left, in either database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_during_a_fill_stays_ended_s4() {
    let servers = Servers::start().await;
    let saver = servers.saver().await;
    for _ in 0..5 {
        let messages = store_many(&saver.store, 300, Durability::Synced).await;
        servers.redis.command(&["FLUSHALL"]).unwrap();
        let acks = messages.iter().map(|(address, id)| {
            let (store, address, id) = (saver.store.clone(), address.clone(), *id);
            async move {
                waiting(&store, &address).await;
                assert_eq!(ack(&store, &address, id).await, Ok(true));
            }
        });
        futures::future::join_all(acks).await;
        filled(&servers).await;
        for (address, _) in &messages {
            assert_eq!(waiting(&saver.store, address).await, BTreeSet::new(), "{address}");
        }
    }
    saver.stop().await;
}
