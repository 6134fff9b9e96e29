//! What every store must do, as tests that are generic over the store. [`conformance!`](crate::store::suite::conformance) runs
//! them all against one; each gets an empty store.

mod broadcasts;
mod inbox;
mod messages;
pub(crate) mod model;
mod products;
mod time;
mod uplinks;

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use longline_pb::types::{Class, Message};
use longline_types::{Address, Durability, Error, MessageId, MessageState, ProductId, now_ms};

use crate::store::{Ack, Check, Idempotency, Load, Loaded, Put, Store, Stored};

pub(crate) use {broadcasts::*, inbox::*, messages::*, products::*, time::*, uplinks::*};

/// Makes a test of every function of the suite. `$open` is an async function that gives an empty store, and whatever must
/// live as long as the store does.
macro_rules! conformance {
    ($open:path) => {
        $crate::store::suite::conformance!($open:
            a_retry_gets_the_id_of_the_first_try_s1 a_retry_learns_how_the_first_try_ended_s1
            another_request_under_the_key_is_refused_s1 a_key_is_of_one_address_s1 a_group_may_repeat_itself_s1
            an_ended_id_stays_ended_s5 an_id_of_another_address_is_refused_and_fails_alone
            the_newest_of_a_collapse_key_stays_s3 a_late_older_message_collapses_at_once_s3
            an_ack_of_the_older_never_removes_the_newer_s3 a_group_collapses_in_itself_s3
            a_full_inbox_loses_its_oldest a_late_message_below_a_full_inbox_overflows_itself
            an_ack_ends_once_and_only_its_own an_ack_and_a_recall_have_one_winner_s5
            a_message_keeps_its_history a_recall_is_of_the_product names_may_hold_anything
            concurrent_tries_under_one_key_store_one_message_s1
            concurrent_puts_leave_the_newest_of_a_collapse_key_s3 concurrent_puts_keep_the_inbox_limit
            what_was_accepted_adds_up_i3
            a_load_brings_the_lowest_except_those_listed_d4 a_page_ends_by_count a_page_ends_by_bytes
            a_batch_of_loads_keeps_addresses_apart a_check_compares_with_what_is_in_flight_d2
            an_inbox_is_counted
            expired_is_hidden_at_once_and_ended_by_the_sweep an_ack_before_the_sweep_wins_s5
            the_sweep_ends_no_more_than_it_is_asked_to retention_removes_what_ended_and_nothing_else
            a_first_sight_starts_at_the_present_s8 a_sight_before_the_first_broadcast_counts_s8
            an_acknowledged_broadcast_does_not_come_again_s8 broadcasts_may_be_acknowledged_in_any_order_s8
            the_devices_last_seen_only_raises_the_floor_s8 a_foreign_broadcast_ack_changes_nothing
            broadcasts_come_after_unicasts_in_one_page sequences_are_given_without_gaps_s8
            a_broadcast_retry_gets_the_first_s1 broadcasts_are_claimed_by_one progress_is_merged_by_room
            active_broadcasts_are_listed_by_sequence an_expired_broadcast_is_over
            a_repeated_uplink_is_recognised uplinks_are_claimed_by_one a_lapsed_claim_is_anybodys
            a_finished_uplink_is_remembered_without_its_payload an_uplink_put_off_comes_later_with_one_more_attempt
            presence_has_no_sequence
            products_are_created_and_changed a_stale_revision_is_refused product_names_are_unique
            changes_are_found_by_revision);
    };
    ($open:path: $($test:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let (store, _guard) = $open().await;
            $crate::store::suite::$test(&store).await;
        }
    )* };
}
pub(crate) use conformance;

/// Long after any test.
const LATER_MS: u64 = 3_600_000;
/// How long a test waits for what must come.
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// A rising id, unique in the test process.
fn new_id() -> MessageId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    MessageId((1 << 60) + NEXT.fetch_add(1, Ordering::Relaxed))
}

fn address(user: &str) -> Address {
    Address::new(1, user).unwrap()
}

fn message(id: MessageId, payload: &str) -> Message {
    Message {
        id: id.0,
        payload: Bytes::from(payload.to_owned()),
        sent_at_ms: now_ms(),
        expires_at_ms: now_ms() + LATER_MS,
        class: Class::Durable.into(),
        ..Message::default()
    }
}

fn put_as(user: &str, id: MessageId) -> Put {
    Put {
        address: address(user),
        message: message(id, "hello"),
        idempotency: None,
        collapse_key: None,
        durability: Durability::Synced,
        inbox_limit: 0,
    }
}

fn put(user: &str) -> Put {
    put_as(user, new_id())
}

fn keyed(user: &str, key: &str, digest: u8) -> Put {
    let idempotency = Idempotency { key: key.to_owned(), digest: [digest; 16] };
    Put { idempotency: Some(idempotency), ..put(user) }
}

fn collapsing(user: &str, id: MessageId, key: &str) -> Put {
    Put { collapse_key: Some(key.to_owned()), ..put_as(user, id) }
}

async fn store_one(store: &impl Store, put: Put) -> Result<Stored, Error> {
    let mut outcomes = store.put(vec![put], 7).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// Stores it and expects it to wait; its id.
async fn stored(store: &impl Store, put: Put) -> MessageId {
    let outcome = store_one(store, put.clone()).await.unwrap();
    assert_eq!((outcome.id.0, outcome.state), (put.message.id, MessageState::Waiting));
    assert!(!outcome.repeated);
    outcome.id
}

fn load_of(user: &str) -> Load {
    Load {
        address: address(user),
        limit: 100,
        max_bytes: 1 << 20,
        except: Vec::new(),
        known_broadcast: 0,
        seen_broadcast: 0,
    }
}

async fn load(store: &impl Store, request: Load) -> Loaded {
    let mut pages = store.load(vec![request]).await;
    assert_eq!(pages.len(), 1);
    pages.remove(0).unwrap()
}

/// The ids that a load brings.
async fn waiting(store: &impl Store, user: &str) -> Vec<MessageId> {
    ids(&load(store, load_of(user)).await)
}

fn ids(page: &Loaded) -> Vec<MessageId> {
    page.messages.iter().map(|m| MessageId(m.id)).collect()
}

fn ack_of(user: &str, id: MessageId) -> Ack {
    Ack { address: address(user), id, broadcast_seq: 0, written_at_ms: 5, room: 3 }
}

async fn ack(store: &impl Store, ack: Ack) -> bool {
    let mut ended = store.ack(vec![ack]).await;
    assert_eq!(ended.len(), 1);
    ended.remove(0).unwrap()
}

async fn check(store: &impl Store, user: &str, in_flight: u64) -> bool {
    store.check(vec![Check { address: address(user), in_flight }]).await.remove(0).unwrap()
}

async fn state_of(store: &impl Store, id: MessageId) -> MessageState {
    let record = store.message(ProductId(1), id).await.unwrap().expect("it is stored");
    longline_pb::convert::message_state(record.state).expect("a state")
}
