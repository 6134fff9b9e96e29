//! Registers in a cluster with a real keeper: binds, lookups, displacements, the loss of a register and of a room.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{FakeRoom, Held, RegisterProcess, SOON, key, start_keeper, start_keeper_until};
use longline_pb::register::LookupReply;
use longline_pb::register::change_reply::What as Answer;
use longline_pb::register::change_request::What;
use longline_pb::register::{Bind, SlotDone};
use longline_testkit::eventually;
use longline_types::{Device, Error, ErrorCode, NodeState, Role, Slot};
use tokio_util::sync::CancellationToken;

fn found(reply: LookupReply) -> Result<Option<u64>, ErrorCode> {
    match reply.error {
        Some(error) => Err(Error::from(error).code),
        None => Ok(reply.route.map(|route| route.session)),
    }
}

fn device(hash: u64, counter: u64) -> Device {
    Device { hash, counter }
}

/// Users whose slots have different owners, two of each.
fn users_of_all_owners(room: &FakeRoom) -> Vec<String> {
    let view = room.member.view().borrow().clone();
    let mut users = Vec::new();
    for register in view.live(Role::Register) {
        let owned = |user: &String| view.owner(key(user).slot()).is_some_and(|o| o.node == register.number);
        users.extend((0..).map(|i| format!("user-{i}")).filter(owned).take(2));
    }
    users
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_register_knew_is_refilled_by_the_rooms_r2_r3() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = start_keeper(folder.path()).await;
    let (first, second) = (RegisterProcess::start(keeper).await, RegisterProcess::start(keeper).await);
    first.deps.health.wait_ready().await;
    second.deps.health.wait_ready().await;
    let room = FakeRoom::start(keeper).await;
    room.view_where("both registers", |v| v.ready(Role::Register).count() == 2).await;
    room.refill(&[]).await;

    let users = users_of_all_owners(&room);
    assert_eq!(users.len(), 4);
    let mut held: Vec<Held> = Vec::new();
    for (session, user) in (1..).zip(&users) {
        held.push(room.bind(user, session, device(session, 1)).await.0);
    }
    for (session, user) in (1..).zip(&users) {
        assert_eq!(found(room.lookup(user).await), Ok(Some(session)));
    }
    assert!(room.unbind(held.pop().unwrap()).await);
    assert_eq!(found(room.lookup(&users[3]).await), Ok(None), "offline, from a filled slot");

    let view = room.member.view().borrow().clone();
    let lost = view.nodes().find(|n| n.rpc == first.rpc.to_string()).unwrap().number;
    let lost_users: Vec<&String> =
        users.iter().filter(|u| view.owner(key(u).slot()).unwrap().node == lost).collect();
    first.kill();
    room.view_where("the lost register is gone", |v| v.node(lost).is_none()).await;
    for user in &lost_users {
        assert_eq!(found(room.lookup(user).await), Err(ErrorCode::Refilling), "unknown, not offline (R3)");
    }
    eventually(SOON, "the metric says so", async || second.metric("longline_register_slots_refilling") > 0.0)
        .await;
    room.refill(&held).await;
    for (session, user) in (1..).zip(&users[..3]) {
        assert_eq!(found(room.lookup(user).await), Ok(Some(session)));
    }
    assert_eq!(found(room.lookup(&users[3]).await), Ok(None), "and offline again");
    let (again, _) = room.bind(&users[0], 99, device(99, 1)).await;
    assert!(again.route.stamp > held[0].route.stamp, "stamps go on rising (R1)");
    assert!(!room.unbind(held[0]).await, "a late goodbye erases nothing newer");
    assert_eq!(found(room.lookup(&users[0]).await), Ok(Some(99)));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_displaced_session_is_told_and_a_room_that_left_is_forgotten_r5() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = start_keeper(folder.path()).await;
    let register = RegisterProcess::start(keeper).await;
    register.deps.health.wait_ready().await;
    let (a, b) = (FakeRoom::start(keeper).await, FakeRoom::start(keeper).await);
    a.view_where("all are there", |v| v.ready(Role::Room).count() == 2).await;

    let (old, _) = a.bind("alice", 1, device(1, 5)).await;
    let (_, stale) = b.bind("alice", 2, device(1, 4)).await;
    assert!(stale.stale, "an earlier connection of the same device (R1)");
    a.displacements.deaf.store(true, Ordering::SeqCst);
    let (new, reply) = b.bind("alice", 3, device(2, 1)).await;
    assert_eq!(reply.displaced, Some(old.route.into()));
    eventually(SOON, "it is tried again", async || a.displacements.missed.load(Ordering::SeqCst) >= 2).await;
    assert_eq!(register.metric("longline_register_displacements_pending"), 1.0);
    a.displacements.deaf.store(false, Ordering::SeqCst);
    eventually(SOON, "the old room is told", async || {
        let heard = a.displacements.heard.lock().unwrap().clone();
        heard.len() == 1 && heard[0].route == Some(old.route.into()) && heard[0].key_low == key("alice").low
    })
    .await;
    eventually(SOON, "it is told once", async || {
        register.metric("longline_register_displacements_pending") == 0.0
    })
    .await;
    assert!(a.assert(old).await.displaced, "and would learn it from its slow round (R6)");
    assert!(!b.assert(new).await.displaced);

    eventually(SOON, "there is a route", async || register.metric("longline_register_entries") == 1.0).await;
    b.member.leave().await;
    let (left, _) = b.room();
    a.view_where("the room is gone", |v| v.node(left).is_none()).await;
    assert_eq!(a.lookup("alice").await.route, None);
    eventually(SOON, "its routes are dropped", async || register.metric("longline_register_entries") == 0.0)
        .await;
    let view = a.member.view().borrow().clone();
    let owner = view.owner(key("alice").slot()).unwrap().node;
    let (node, incarnation) = b.room();
    let bind = Bind {
        key: Some(key("bob").into()),
        node,
        incarnation,
        session: 4,
        device: Some(device(1, 9).into()),
    };
    let refused = a.change(owner, view.number, What::Bind(bind)).await.unwrap();
    assert!(matches!(refused.what, Some(Answer::Error(_))), "nobody binds for a room that left (R4)");
    register.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_answers_by_its_own_view_and_hands_its_slots_over() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = start_keeper(folder.path()).await;
    let (first, second) = (RegisterProcess::start(keeper).await, RegisterProcess::start(keeper).await);
    first.deps.health.wait_ready().await;
    second.deps.health.wait_ready().await;
    let room = FakeRoom::start(keeper).await;
    let view = room.view_where("both registers", |v| v.ready(Role::Register).count() == 2).await;
    room.refill(&[]).await;
    let slot = key("alice").slot();
    let owner = view.owner(slot).unwrap();
    let other = view.live(Role::Register).find(|n| n.number != owner.node).unwrap().number;
    let wrong = room.lookup_at(other, view.number, "alice").await.unwrap();
    assert_eq!(found(wrong), Err(ErrorCode::WrongNode));
    assert_eq!(found(room.lookup_at(owner.node, view.number, "alice").await.unwrap()), Ok(None));
    let ahead = room.lookup_at(owner.node, view.number + 1_000, "alice").await.unwrap();
    assert_eq!(found(ahead), Err(ErrorCode::Refilling), "a register that is behind says no miss (R3)");

    let (node, incarnation) = room.room();
    let done = |slot, generation| What::SlotDone(SlotDone { slot, generation, node, incarnation });
    let code = async |what| match room.change(owner.node, view.number, what).await.unwrap().what {
        Some(Answer::Error(error)) => Some(Error::from(error).code),
        _ => None,
    };
    assert_eq!(code(done(4096, 1)).await, Some(ErrorCode::InvalidArgument));
    let slot_number = slot.index() as u32;
    assert_eq!(code(done(slot_number, owner.generation + 1)).await, Some(ErrorCode::Unavailable));
    assert_eq!(code(done(slot_number, owner.generation - 1)).await, Some(ErrorCode::WrongNode));
    assert_eq!(code(done(slot_number, owner.generation)).await, None);
    assert_eq!(code(What::Bind(Bind::default())).await, Some(ErrorCode::InvalidArgument));

    let handing_over = tokio::time::timeout(Duration::from_secs(10), first.stop());
    handing_over
        .await
        .expect("it does not wait for its deadline, since the keeper gives its slots to the other");
    let view = room.view_where("one is left", |v| v.live(Role::Register).count() == 1).await;
    let left = view.live(Role::Register).next().unwrap();
    assert!(left.state == NodeState::Ready && left.rpc == second.rpc.to_string());
    assert!(Slot::all().all(|slot| view.owner(slot).unwrap().node == left.number));
    room.refill(&[]).await;
    assert_eq!(found(room.lookup("alice").await), Ok(None));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_keeper_hits_and_binds_go_on_and_misses_are_unknown_r3_r4() {
    let folder = tempfile::tempdir().unwrap();
    let no_keeper = CancellationToken::new();
    let keeper = start_keeper_until(folder.path(), no_keeper.clone()).await;
    let register = RegisterProcess::start(keeper).await;
    register.deps.health.wait_ready().await;
    let room = FakeRoom::start(keeper).await;
    room.view_where("the register", |v| v.ready(Role::Register).count() == 1).await;
    room.refill(&[]).await;
    room.bind("alice", 1, device(1, 1)).await;
    assert_eq!(found(room.lookup("bob").await), Ok(None));

    no_keeper.cancel();
    eventually(SOON, "the lease runs out", async || {
        found(room.lookup("bob").await) == Err(ErrorCode::Refilling)
    })
    .await;
    assert_eq!(found(room.lookup("alice").await), Ok(Some(1)), "a hit does no harm");
    room.bind("bob", 2, device(2, 1)).await;
    assert_eq!(found(room.lookup("bob").await), Ok(Some(2)), "the keeper's silence closes nothing");
    register.stop().await;
}
