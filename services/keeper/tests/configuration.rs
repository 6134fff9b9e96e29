//! Members that follow the configuration of a real keeper.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Keeper;
use longline_member::Entries;
use longline_pb::keeper::WriteConfigRequest;
use longline_types::Role;
use tokio::sync::watch;

/// Sets an entry, or deletes it; its new revision.
async fn set(keeper: &Keeper, key: &str, value: Option<&[u8]>, expected_revision: u64) -> u64 {
    let request = WriteConfigRequest {
        key: key.to_owned(),
        value: value.unwrap_or_default().to_vec(),
        expected_revision,
        delete: value.is_none(),
    };
    keeper.client().write_config(request).await.unwrap().into_inner().revision
}

/// Waits until these are all the entries there are.
async fn until(entries: &mut watch::Receiver<Arc<Entries>>, wanted: &[(&str, &str)]) {
    let all = |e: &Arc<Entries>| {
        let pairs = e.iter().map(|(key, entry)| (key, entry.value.as_slice()));
        e.are_known() && pairs.eq(wanted.iter().map(|(key, value)| (*key, value.as_bytes())))
    };
    let waiting = entries.wait_for(all);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("in time").unwrap();
}

#[tokio::test]
async fn entries_under_a_prefix_are_followed_across_a_keeper_that_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let first = set(&keeper, "room/a", Some(b"1"), 0).await;
    set(&keeper, "other/a", Some(b"1"), 0).await;
    let member = keeper.join(Role::Room).await;
    let mut entries = member.config("room/");
    until(&mut entries, &[("room/a", "1")]).await;
    assert_eq!(entries.borrow().get("room/a").unwrap().revision, first);

    set(&keeper, "room/b", Some(b"2"), 0).await;
    until(&mut entries, &[("room/a", "1"), ("room/b", "2")]).await;
    set(&keeper, "room/a", None, first).await;
    until(&mut entries, &[("room/b", "2")]).await;

    let port = keeper.address.port();
    keeper.stop().await;
    assert_eq!(entries.borrow().iter().count(), 1, "the last copy stands");
    let keeper = Keeper::start(folder.path(), port).await;
    set(&keeper, "room/c", Some(b"3"), 0).await;
    until(&mut entries, &[("room/b", "2"), ("room/c", "3")]).await;
    keeper.stop().await;
}

#[tokio::test]
async fn a_snapshot_of_many_pieces_is_shown_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let large = vec![7; 1024 * 1024];
    for number in 0..5 {
        set(&keeper, &format!("large/{number}"), Some(&large), 0).await;
    }
    let member = keeper.join(Role::Room).await;
    let mut entries = member.config("large/");
    let known = entries.wait_for(|e| e.are_known());
    let known = tokio::time::timeout(Duration::from_secs(20), known).await.unwrap().unwrap().clone();
    assert_eq!(known.iter().count(), 5);
    assert!(known.iter().all(|(_, entry)| entry.value == large));
    keeper.stop().await;
}
