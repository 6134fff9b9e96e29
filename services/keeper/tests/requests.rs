//! The keeper's gRPC by itself: what it refuses, and the configuration.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::Keeper;
use longline_pb::keeper::{
    self, ConfigEntry, ConfigEvent, ReadConfigRequest, RegisterRequest, RenewRequest, WatchConfigRequest,
    WriteConfigRequest,
};
use longline_types::ErrorCode;
use tonic::{Code, Streaming};

fn registration(role: keeper::Role) -> RegisterRequest {
    RegisterRequest {
        role: role.into(),
        idc: "default".into(),
        rpc: "127.0.0.1:9".into(),
        state: keeper::NodeState::Starting.into(),
        ..RegisterRequest::default()
    }
}

fn write(key: &str, value: &str, expected_revision: u64) -> WriteConfigRequest {
    WriteConfigRequest { key: key.into(), value: value.into(), expected_revision, delete: false }
}

async fn next(events: &mut Streaming<ConfigEvent>) -> ConfigEvent {
    tokio::time::timeout(Duration::from_secs(20), events.message()).await.expect("an event").unwrap().unwrap()
}

fn said(event: ConfigEvent) -> Vec<(String, String, bool)> {
    let said = |e: ConfigEntry| (e.key, String::from_utf8(e.value).unwrap(), e.deleted);
    event.entries.into_iter().map(said).collect()
}

#[tokio::test]
async fn requests_that_make_no_sense_are_invalid_and_ended_nodes_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let mut client = keeper.client();
    for role in [keeper::Role::Unspecified, keeper::Role::Keeper] {
        let refused = client.register(registration(role)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let long = RegisterRequest { name: "n".repeat(129), ..registration(keeper::Role::Room) };
    assert_eq!(client.register(long).await.unwrap_err().code(), Code::InvalidArgument);
    let renew = |number, incarnation, state: keeper::NodeState| RenewRequest {
        number,
        incarnation,
        state: state.into(),
        ..RenewRequest::default()
    };
    for bad in [
        renew(5000, 1, keeper::NodeState::Ready),
        renew(1, 0, keeper::NodeState::Ready),
        renew(1, 1, keeper::NodeState::Unspecified),
    ] {
        assert_eq!(client.renew(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let unknown = client.renew(renew(1, 99, keeper::NodeState::Ready)).await.unwrap_err();
    assert_eq!(longline_rpc::error(unknown).code, ErrorCode::NotFound);
    for key in ["", "a b"] {
        let refused = client.read_config(ReadConfigRequest { key: key.into() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    keeper.stop().await;
}

#[tokio::test]
async fn configuration_is_compared_watched_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let mut client = keeper.client();
    let first = client.write_config(write("a/x", "1", 0)).await.unwrap().into_inner();
    let stale = client.write_config(write("a/x", "2", 0)).await.unwrap_err();
    assert_eq!(longline_rpc::error(stale).code, ErrorCode::Conflict);

    let prefix = WatchConfigRequest { prefix: "a/".into() };
    let mut events = client.watch_config(prefix).await.unwrap().into_inner();
    let snapshot = next(&mut events).await;
    assert!(snapshot.snapshot);
    assert_eq!(said(snapshot), [("a/x".into(), "1".into(), false)]);
    client.write_config(write("b/y", "other", 0)).await.unwrap();
    let second = client.write_config(write("a/x", "2", first.revision)).await.unwrap().into_inner();
    assert_eq!(said(next(&mut events).await), [("a/x".into(), "2".into(), false)]);
    let delete = WriteConfigRequest { delete: true, ..write("a/x", "", second.revision) };
    client.write_config(delete).await.unwrap();
    assert_eq!(said(next(&mut events).await), [("a/x".into(), String::new(), true)]);
    let absent = client.read_config(ReadConfigRequest { key: "a/x".into() }).await.unwrap().into_inner();
    assert_eq!(absent.revision, 0);
    keeper.stop().await;

    let keeper = Keeper::start(folder.path(), 0).await;
    let mut client = keeper.client();
    let kept = client.read_config(ReadConfigRequest { key: "b/y".into() }).await.unwrap().into_inner();
    assert_eq!(kept.value, b"other");
    let later = client.write_config(write("a/x", "3", 0)).await.unwrap().into_inner();
    assert!(later.revision > second.revision + 1, "revisions go on rising, also those of deletions");
    keeper.stop().await;
}
