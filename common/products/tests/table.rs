//! The table against fake savers on loopback: snapshot, changes, failover, and what a miss may cost.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use longline_pb::saver::Product;
use longline_products::ProductTable;
use longline_rpc::Peers;
use longline_testkit::eventually;
use longline_types::{ErrorCode, Node, ProductId, View};
use support::FakeSaver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

fn product(id: u32, revision: u64, name: &str) -> Product {
    Product { id, revision, name: name.into(), ..Default::default() }
}

fn table(nodes: Vec<Node>) -> (watch::Sender<Arc<View>>, ProductTable) {
    let (sender, view) = watch::channel(Arc::new(View::new(1, nodes, vec![])));
    let peers = Peers::new(view, &prometheus::Registry::new());
    (sender, ProductTable::start(peers, CancellationToken::new()))
}

fn name(table: &ProductTable, id: u32) -> Option<String> {
    table.get(ProductId(id)).map(|p| p.name.clone())
}

#[tokio::test]
async fn it_takes_the_snapshot_and_each_change() {
    let saver = FakeSaver::start(1, vec![product(1, 1, "one"), product(2, 1, "two")]).await;
    let (_view, table) = table(vec![saver.node.clone()]);
    tokio::time::timeout(SOON, table.loaded().wait_for(|loaded| *loaded)).await.unwrap().unwrap();
    assert_eq!((name(&table, 1).as_deref(), name(&table, 2).as_deref()), (Some("one"), Some("two")));
    assert_eq!(table.all().len(), 2);
    saver.announce(product(2, 2, "second"));
    saver.announce(product(3, 1, "three"));
    eventually(SOON, "the changes", async || name(&table, 3).is_some()).await;
    assert_eq!(name(&table, 2).as_deref(), Some("second"));
    assert_eq!(name(&table, 4), None);
}

#[tokio::test]
async fn a_dead_saver_is_left_for_another_and_what_was_known_stays() {
    let (first, second) =
        (FakeSaver::start(1, vec![product(1, 5, "one")]).await, FakeSaver::start(2, vec![]).await);
    let (view, table) = table(vec![first.node.clone()]);
    eventually(SOON, "the first snapshot", async || name(&table, 1).is_some()).await;
    first.stop();
    view.send_replace(Arc::new(View::new(2, [first.node.clone(), second.node.clone()], vec![])));
    eventually(SOON, "a watch at the second saver", async || second.watches() > 0).await;
    second.announce(product(1, 4, "an older record"));
    second.announce(product(2, 1, "two"));
    eventually(SOON, "the change at the second saver", async || name(&table, 2).is_some()).await;
    assert_eq!(name(&table, 1).as_deref(), Some("one"));
}

#[tokio::test]
async fn find_waits_for_a_saver_and_then_reads_from_memory() {
    let (view, table) = table(vec![]);
    let finding = tokio::spawn({
        let table = table.clone();
        async move { table.find(ProductId(1)).await }
    });
    let saver = FakeSaver::start(1, vec![product(1, 1, "one")]).await;
    view.send_replace(Arc::new(View::new(2, [saver.node.clone()], vec![])));
    assert_eq!(finding.await.unwrap().unwrap().unwrap().name, "one");
    assert_eq!(saver.reads(), 0);
}

#[tokio::test]
async fn a_product_that_no_watch_has_told_of_is_read_and_kept() {
    let saver = FakeSaver::start(1, vec![]).await;
    let (_view, table) = table(vec![saver.node.clone()]);
    table.loaded().wait_for(|loaded| *loaded).await.unwrap();
    saver.add(product(9, 1, "nine"));
    assert_eq!(table.find(ProductId(9)).await.unwrap().unwrap().name, "nine");
    assert_eq!(table.find(ProductId(9)).await.unwrap().unwrap().name, "nine");
    assert_eq!((saver.reads(), name(&table, 9).as_deref()), (1, Some("nine")));
}

#[tokio::test]
async fn unknown_products_cost_the_store_a_few_reads_a_second() {
    let saver = FakeSaver::start(1, vec![]).await;
    let (_view, table) = table(vec![saver.node.clone()]);
    table.loaded().wait_for(|loaded| *loaded).await.unwrap();
    let asked_often = (0..100).map(|_| table.find(ProductId(1)));
    assert!(futures::future::join_all(asked_often).await.into_iter().all(|r| r.unwrap().is_none()));
    assert_eq!(saver.reads(), 1, "one read serves all");
    let began = std::time::Instant::now();
    let guessed = futures::future::join_all((2..500).map(|id| table.find(ProductId(id)))).await;
    let refused =
        guessed.iter().filter(|r| matches!(r, Err(e) if e.code == ErrorCode::ResourceExhausted)).count();
    let allowed = 11 + 5 * (began.elapsed().as_secs() as usize + 1);
    assert!(saver.reads() <= allowed, "{} reads", saver.reads());
    assert!(refused >= 498 - allowed, "{refused} refused");
}

#[tokio::test]
async fn without_a_saver_nothing_is_known() {
    let (_view, table) = table(vec![]);
    let error = tokio::time::timeout(SOON, table.find(ProductId(1))).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
}
