//! Members and a real keeper: joining, leaving, losing the lease, and a keeper that stops and comes back.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Keeper, view_where};
use longline_member::{JoinError, join};
use longline_pb::keeper::LeaveRequest;
use longline_testkit::eventually;
use longline_types::{Load, NodeState, Role, SLOTS, Slot, now_ms};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn nodes_see_each_other_come_change_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let room = keeper.join(Role::Room).await;
    let own = *room.identity().borrow();
    let first = room.view().borrow().clone();
    assert_eq!(first.node(own.number).unwrap().incarnation, own.incarnation, "in its own first view");
    assert_eq!(first.live(Role::Keeper).count(), 1, "the keeper shows itself");
    assert!(first.slots().is_empty() && room.lease_valid());

    let register = keeper.join(Role::Register).await;
    let number = register.identity().borrow().number;
    let view = view_where(&room, "the register's slots", |v| v.slots().len() == SLOTS).await;
    assert!(Slot::all().all(|slot| view.owner(slot).unwrap().node == number));
    assert_eq!(view.ready(Role::Register).count(), 0);
    register.set_state(NodeState::Ready);
    view_where(&room, "the register is ready", |v| v.ready(Role::Register).count() == 1).await;

    let load = Load { sessions: 7, capacity: 100, ..Load::default() };
    room.set_load(load);
    let loaded = view_where(&register, "the room's load", |v| v.node(own.number).unwrap().load == load).await;
    assert_eq!(loaded.number, register.view().borrow().number, "loads make no new view");

    register.leave().await;
    assert!(!register.lease_valid());
    let view = view_where(&room, "the register is gone", |v| v.node(number).is_none()).await;
    assert!(view.slots().is_empty() && view.number > loaded.number);
    keeper.stop().await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_gone_after_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let watcher = keeper.join(Role::Center).await;
    let silent = keeper.join(Role::Room).await;
    let number = silent.identity().borrow().number;
    view_where(&watcher, "the room", |v| v.node(number).is_some()).await;
    drop(silent);
    view_where(&watcher, "the room is gone", |v| v.node(number).is_none()).await;
    assert!(watcher.lease_valid(), "the other renews");
    keeper.stop().await;
}

#[tokio::test]
async fn a_lost_lease_is_replaced_by_a_new_identity_r4() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let room = keeper.join(Role::Room).await;
    room.set_state(NodeState::Ready);
    let mut identity = room.identity();
    let lost = *identity.borrow_and_update();
    let before = room.ids().make(now_ms()).unwrap();
    // As if its lease had run out while it was paused.
    let leave = LeaveRequest { number: lost.number, incarnation: lost.incarnation };
    keeper.client().leave(leave).await.unwrap();
    tokio::time::timeout(SOON, identity.changed()).await.expect("a new identity").unwrap();
    let new = *identity.borrow();
    assert!(new.incarnation > lost.incarnation && new.number != lost.number);
    let view = room.view().borrow().clone();
    assert!(view.node(new.number).is_some() && view.node(lost.number).is_none(), "the view came first");
    assert_eq!(view.node(new.number).unwrap().state, NodeState::Ready, "its state goes along");
    let after = room.ids().make(now_ms()).unwrap();
    assert!(after.node() == new.number && after > before, "I1");
    keeper.stop().await;
}

#[tokio::test]
async fn renewals_wake_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let room = keeper.join(Role::Room).await;
    let identity = room.identity();
    let first = *identity.borrow();
    eventually(SOON, "a renewal", async || identity.borrow().lease_until > first.lease_until).await;
    assert!(!identity.has_changed().unwrap());
    keeper.stop().await;
}

#[tokio::test]
async fn silence_of_the_keeper_changes_nothing_but_the_lease_r4() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let room = keeper.join(Role::Room).await;
    let register = keeper.join(Role::Register).await;
    let own = *room.identity().borrow();
    let before = view_where(&room, "both", |v| v.slots().len() == SLOTS).await;
    let address = keeper.address;
    keeper.stop().await;
    eventually(SOON, "the lease runs out", async || !room.lease_valid() && !register.lease_valid()).await;
    assert_eq!(room.view().borrow().number, before.number, "the last view stands");
    assert!(room.ids().make(now_ms()).is_ok(), "ids are granted for longer");

    let keeper = Keeper::start(folder.path(), address.port()).await;
    eventually(SOON, "the lease is confirmed", async || room.lease_valid() && register.lease_valid()).await;
    let view = view_where(&room, "a newer view", |v| v.number > before.number).await;
    assert_eq!(room.identity().borrow().incarnation, own.incarnation, "the keeper never ended it");
    assert_eq!(view.node(own.number).unwrap().incarnation, own.incarnation);
    assert_eq!(view.slots(), before.slots(), "slots keep owner and generation");
    assert_eq!(view.live(Role::Keeper).count(), 1, "the keeper replaces itself");
    keeper.stop().await;
}

#[tokio::test]
async fn joining_waits_for_a_keeper_until_told_to_stop() {
    let nowhere = longline_testkit::free_port().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let mut options = keeper.options(Role::Saver);
    options.node.keepers = vec![SocketAddr::from(([127, 0, 0, 1], nowhere)).to_string()];
    let shutdown = CancellationToken::new();
    let joining = tokio::spawn(join(options.clone(), shutdown.clone()));
    shutdown.cancel();
    assert!(matches!(joining.await.unwrap(), Err(JoinError::Shutdown)));

    // The first of two does not answer.
    options.node.keepers.push(keeper.address.to_string());
    let member = join(options, CancellationToken::new()).await.unwrap();
    assert!(member.lease_valid());
    keeper.stop().await;
}

#[tokio::test]
async fn a_node_that_the_keeper_refuses_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(folder.path(), 0).await;
    let mut options = keeper.options(Role::Room);
    options.node.name = Some("n".repeat(200));
    let Err(error) = join(options, CancellationToken::new()).await else { panic!("joined") };
    assert!(matches!(&error, JoinError::Refused(e) if e.message.contains("name")), "{error}");
    let mut options = keeper.options(Role::Room);
    options.rpc = SocketAddr::from(([0, 0, 0, 0], 7705));
    let Err(error) = join(options, CancellationToken::new()).await else { panic!("joined") };
    assert!(matches!(error, JoinError::Unreachable(_)), "{error}");
    keeper.stop().await;
}
