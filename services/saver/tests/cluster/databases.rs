//! Databases that die, are full, or must not be used.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longline_saver::store::cluster::{Cluster, Config, OpenError};
use longline_saver::store::{Put, Store as _};
use longline_testkit::{RedisOptions, RedisServer, Restart, Scratch, eventually};
use longline_types::{Address, Durability, ErrorCode, MessageId};
use tokio::task::JoinHandle;

use crate::support::*;

/// Stores messages without end and remembers which were accepted. A failed one is repeated with the same id, as a center does.
struct Traffic {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<(Address, MessageId)>>>,
}

impl Traffic {
    fn start(store: &Cluster, durability: Durability) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..4).map(|writer| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    let mut open: Vec<Put> =
                        (0..5).map(|i| put(&user(writer * 100 + (turn * 5 + i) % 20), durability)).collect();
                    for _ in 0..20 {
                        let outcomes = store.put(open.clone(), 1).await;
                        let mut failed = Vec::new();
                        for (put, outcome) in open.into_iter().zip(outcomes) {
                            match outcome {
                                Ok(stored) => accepted.push((put.address, stored.id)),
                                Err(_) => failed.push(put),
                            }
                        }
                        open = failed;
                        if open.is_empty() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                accepted
            })
        });
        let writers = writers.collect();
        Traffic { stop, writers }
    }

    async fn end(self) -> Vec<(Address, MessageId)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut accepted = Vec::new();
        for writer in self.writers {
            accepted.extend(writer.await.unwrap());
        }
        accepted
    }
}

async fn some_time() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

/// Soon, not at once: rows that Redis could not be told of wait for the sweep of their note.
async fn all_found(store: &Cluster, accepted: &[(Address, MessageId)]) {
    assert!(accepted.len() > 50, "only {} were accepted", accepted.len());
    let addresses: BTreeSet<&Address> = accepted.iter().map(|(a, _)| a).collect();
    for address in addresses {
        let of_it: Vec<MessageId> =
            accepted.iter().filter(|(a, _)| a == address).map(|(_, id)| *id).collect();
        eventually(SOON, &format!("all {} messages of {address}", of_it.len()), async || {
            let found = waiting(store, address).await;
            of_it.iter().all(|id| found.contains(id))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_in_the_middle_of_puts() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    let traffic = Traffic::start(&saver.store, Durability::Synced);
    for finds in [Restart::WithData, Restart::Truncated(3_000), Restart::Emptied] {
        some_time().await;
        servers.redis.restart(finds).await.unwrap();
    }
    some_time().await;
    all_found(&saver.store, &traffic.end().await).await;
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_in_the_middle_of_fast_puts_s2() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    let traffic = Traffic::start(&saver.store, Durability::Fast);
    for finds in [Restart::WithData, Restart::Emptied] {
        some_time().await;
        servers.redis.restart(finds).await.unwrap();
    }
    some_time().await;
    let accepted = traffic.end().await;
    eventually(SOON, "all is flushed", async || {
        servers.redis.command(&["KEYS", "ll:*:u"]).unwrap() == "*0\r\n"
    })
    .await;
    all_found(&saver.store, &accepted).await;
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_killed_in_the_middle_of_puts() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    let traffic = Traffic::start(&saver.store, Durability::Synced);
    some_time().await;
    servers.mariadb.restart().await.unwrap();
    some_time().await;
    let accepted = traffic.end().await;
    all_found(&saver.store, &accepted).await;
    servers.redis.restart(Restart::Emptied).await.unwrap();
    all_found(&saver.store, &accepted).await;
    saver.stop().await;
}

/// The row is committed, Redis refuses it and goes on as if nothing had been, with its marks: nobody repeats the put.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_redis_missed_turns_up_though_nobody_repeats_it() {
    let servers = Servers::start().await;
    let filler = servers.saver().await;
    filled(&servers).await;
    filler.stop().await;
    let dead = servers.store().await;
    let address = user(0);
    store_many(&dead, 1, Durability::Synced).await;
    servers.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let missed = put(&address, Durability::Synced);
    let error = store_one(&dead, missed.clone()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    servers.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert!(!waiting(&dead, &address).await.contains(&MessageId(missed.message.id)));
    drop(dead);
    let other = servers.saver().await;
    eventually(SOON, "the other saver brings it to Redis", async || {
        waiting(&other.store, &address).await.contains(&MessageId(missed.message.id))
    })
    .await;
    let again = store_one(&other.store, missed).await.unwrap();
    assert!(again.repeated);
    eventually(SOON, "no note is left", async || {
        servers.mariadb.execute("SELECT COUNT(*) FROM longline_0.pending_redis").await.unwrap().trim() == "0"
    })
    .await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_promised_while_a_database_is_away_and_all_goes_on_when_it_is_back() {
    let mut servers = Servers::start().await;
    let saver = servers.saver().await;
    let first = store_one(&saver.store, put(&user(0), Durability::Synced)).await.unwrap().id;
    servers.redis.kill().unwrap();
    let second = put(&user(0), Durability::Synced);
    assert_eq!(store_one(&saver.store, second.clone()).await.unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(
        saver.store.load(vec![load(&user(0))]).await.remove(0).unwrap_err().code,
        ErrorCode::Unavailable
    );
    servers.redis.restart(Restart::WithData).await.unwrap();
    eventually(SOON, "a repeat is accepted", async || store_one(&saver.store, second.clone()).await.is_ok())
        .await;
    assert_eq!(waiting(&saver.store, &user(0)).await, BTreeSet::from([first, MessageId(second.message.id)]));
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_may_evict_is_refused_s4() {
    let servers = Servers::start().await;
    let scratch = Scratch::new().unwrap();
    let options = RedisOptions { maxmemory_policy: "allkeys-lru".into(), ..RedisOptions::default() };
    let evicting = RedisServer::start_with(&scratch, options).await.unwrap();
    let config = Config { redis: evicting.url(), ..servers.config.clone() };
    let Err(OpenError::Refused(why)) = Cluster::open(&config).await else { panic!("it was not refused") };
    assert!(why.contains("`allkeys-lru`") && why.contains("noeviction"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_waited_for_and_what_is_wrong_is_refused() {
    let mut servers = Servers::start().await;
    let two = Config { mysql: vec!["mysql://a/b".into(), "mysql://c/d".into()], ..servers.config.clone() };
    assert!(matches!(Cluster::open(&two).await, Err(OpenError::Refused(why)) if why.contains("exactly one")));
    servers.mariadb.kill().unwrap();
    assert!(matches!(Cluster::open(&servers.config).await, Err(OpenError::Unavailable(_))));
    servers.mariadb.restart().await.unwrap();
    servers.redis.kill().unwrap();
    assert!(matches!(Cluster::open(&servers.config).await, Err(OpenError::Unavailable(_))));
}
