//! The suite against SQLite, and what only a file can suffer.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use longline_types::{Address, Durability, MessageId, MessageState, ProductId, now_ms};
use proptest::prelude::*;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::*;
use crate::store::suite::{conformance, model};

conformance!(open);

async fn open() -> (Sqlite, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Sqlite::open(&folder.path().join("data/longline.db")).await.unwrap(), folder)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_operations_do_what_the_model_does(operations in model::operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, _folder) = open().await;
            model::matches_the_model(&store, operations).await;
        });
    }
}

fn put(user: &str, id: u64) -> Put {
    Put {
        address: Address::new(1, user).unwrap(),
        message: longline_pb::types::Message {
            id,
            payload: vec![id as u8; 300].into(),
            sent_at_ms: now_ms(),
            expires_at_ms: now_ms() + 3_600_000,
            ..Default::default()
        },
        idempotency: None,
        collapse_key: None,
        durability: Durability::Fast,
        inbox_limit: 0,
    }
}

async fn all_waiting(store: &Sqlite, user: &str) -> Vec<u64> {
    let load = Load {
        address: Address::new(1, user).unwrap(),
        limit: usize::MAX >> 1,
        max_bytes: usize::MAX,
        except: Vec::new(),
        known_broadcast: 0,
        seen_broadcast: 0,
    };
    let page = store.load(vec![load]).await.remove(0).unwrap();
    page.messages.into_iter().map(|m| m.id).collect()
}

#[tokio::test]
async fn a_file_is_opened_again_with_all_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longline.db");
    let store = Sqlite::open(&path).await.unwrap();
    for outcome in store.put((1..=100).map(|id| put("alice", id)).collect(), 7).await {
        outcome.unwrap();
    }
    // What a power cut leaves: the file and its log, at this moment, without any orderly end.
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
    drop(store);
    for path in [copy, path] {
        let store = Sqlite::open(&path).await.unwrap();
        assert_eq!(all_waiting(&store, "alice").await, (1..=100).collect::<Vec<_>>(), "{}", path.display());
    }
}

/// Set for the child process of the test below: where its file is.
const CHILD: &str = "LONGLINE_TEST_SQLITE_FILE";

#[test]
fn nothing_answered_is_lost_by_kill_9_s10() {
    if let Ok(path) = std::env::var(CHILD) {
        return store_until_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longline.db");
    let mut next = 1;
    let mut answered = Vec::new();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::nothing_answered_is_lost_by_kill_9_s10", "--nocapture"])
            .env(CHILD, &path)
            .env("LONGLINE_TEST_FIRST_ID", next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ids = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
        for (count, id) in ids.enumerate() {
            answered.push(id);
            next = id + 1;
            // What it had written before the kill is still to be read.
            if count == 199 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        next += 1000;
    }
    assert!(answered.len() >= 600);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (waiting, account) = runtime.block_on(async {
        let store = Sqlite::open(&path).await.unwrap();
        (all_waiting(&store, "alice").await, store.account(None).await.unwrap())
    });
    let lost: Vec<_> = answered.iter().filter(|id| waiting.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "answered, but not there: {lost:?}");
    assert_eq!(account.accepted, waiting.len() as u64, "I3");
}

/// Stores messages, and tells each id once it is answered.
fn store_until_killed(path: &Path) {
    let first: u64 = std::env::var("LONGLINE_TEST_FIRST_ID").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Sqlite::open(path).await.unwrap();
        for id in (first..).step_by(4) {
            let group = (id..id + 4).map(|id| put("alice", id)).collect();
            for outcome in store.put(group, 7).await {
                let mut out = std::io::stdout();
                writeln!(out, "\n{}", outcome.unwrap().id).unwrap();
                out.flush().unwrap();
            }
        }
    });
}

#[tokio::test]
async fn commits_are_synchronised_with_the_disk_s10() {
    let (store, _folder) = open().await;
    let settings = store.writer.change(|tx, _| {
        Box::pin(async move {
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await?;
            let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(tx).await?;
            Ok((synchronous, journal))
        })
    });
    assert_eq!(settings.await, Ok((2, "wal".to_owned())), "2 is FULL: a commit survives a power cut");
}

#[tokio::test]
async fn an_item_the_database_refuses_fails_alone_s10() {
    let (store, folder) = open().await;
    let path = folder.path().join("data/longline.db");
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query(
        "CREATE TRIGGER poison BEFORE INSERT ON messages WHEN new.user = 'poison'
         BEGIN SELECT raise(ABORT, 'refused'); END",
    )
    .execute(&mut other)
    .await
    .unwrap();
    other.close().await.unwrap();
    let outcomes = store.put(vec![put("alice", 1), put("poison", 2), put("alice", 3)], 7).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(outcomes[1].as_ref().unwrap_err().code.is_safe_to_retry());
    assert_eq!(all_waiting(&store, "alice").await, [1, 3]);
    assert_eq!(store.account(None).await.unwrap().accepted, 2);
    assert_eq!(store.message(ProductId(1), MessageId(2)).await, Ok(None));
}

#[tokio::test]
async fn hot_queries_use_their_indexes() {
    let (store, _folder) = open().await;
    let plan = async |sql: &'static str| -> String {
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .fetch_all(&store.readers)
                .await
                .unwrap();
        rows.into_iter().map(|(.., line)| line).collect::<Vec<_>>().join("\n")
    };
    let inbox = plan(
        "SELECT id, payload FROM messages WHERE product = 1 AND user = 'a' AND state = 1 AND expires_at_ms > 5
         AND id NOT IN (SELECT value FROM json_each('[]')) ORDER BY id LIMIT 5",
    )
    .await;
    assert!(inbox.contains("messages_waiting (product=? AND user=?"), "{inbox}");
    assert!(!inbox.contains("TEMP B-TREE"), "already in id order: {inbox}");
    let count = plan(
        "SELECT count(*) FROM messages WHERE product = 1 AND user = 'a' AND state = 1 AND expires_at_ms > 5",
    )
    .await;
    assert!(count.contains("COVERING INDEX messages_waiting"), "{count}");
    let ack = plan(
        "UPDATE messages SET state = 2 FROM json_each('[]') j WHERE messages.id = j.value->>0
         AND messages.state = 1 AND messages.product = j.value->>1 AND messages.user = j.value->>2",
    )
    .await;
    assert!(ack.contains("SEARCH messages USING INTEGER PRIMARY KEY"), "{ack}");
}

#[tokio::test]
async fn concurrent_writers_share_commits() {
    let (store, _folder) = open().await;
    let puts = (1..=200u64).map(|id| {
        let store = store.clone();
        async move { store.put(vec![put("alice", id)], 7).await.remove(0).unwrap().state }
    });
    let states = futures::future::join_all(puts).await;
    assert!(states.iter().all(|s| *s == MessageState::Waiting));
    assert_eq!(all_waiting(&store, "alice").await.len(), 200);
}

#[tokio::test]
async fn a_full_queue_refuses_and_nothing_is_done() {
    let (store, folder) = open().await;
    let path = folder.path().join("data/longline.db");
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let puts: Vec<_> = (1..=1000u64)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { store.put(vec![put("alice", id)], 7).await.remove(0) })
        })
        .collect();
    let mut outcomes = Vec::new();
    let mut lock = Some(lock);
    for (index, put) in puts.into_iter().enumerate().rev() {
        outcomes.push(put.await.unwrap());
        if index == 999 {
            // The last was refused at once, while those before it wait for the lock.
            assert_eq!(outcomes[0].as_ref().unwrap_err().code, longline_types::ErrorCode::ResourceExhausted);
            lock.take().unwrap().rollback().await.unwrap();
        }
    }
    let stored = outcomes.iter().filter(|o| o.is_ok()).count();
    assert!((256..1000).contains(&stored), "{stored}");
    assert_eq!(all_waiting(&store, "alice").await.len(), stored);
}
