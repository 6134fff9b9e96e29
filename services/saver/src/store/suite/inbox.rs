//! Loads, checks and counts.

use longline_types::MessageId;

use super::*;
use crate::store::{Check, Store};

pub(crate) async fn a_load_brings_the_lowest_except_those_listed_d4(store: &impl Store) {
    let ids: [MessageId; 5] = std::array::from_fn(|_| new_id());
    // Ids may commit out of order.
    for i in [3, 0, 4, 1, 2] {
        stored(store, put_as("alice", ids[i])).await;
    }
    assert_eq!(waiting(store, "alice").await, ids);
    let page = load(store, Load { except: vec![ids[0], ids[3], new_id()], ..load_of("alice") }).await;
    assert_eq!(super::ids(&page), [ids[1], ids[2], ids[4]]);
    assert!(!page.more);
    let page = load(store, Load { except: ids.to_vec(), ..load_of("alice") }).await;
    assert!(page.messages.is_empty() && !page.more);
}

pub(crate) async fn a_page_ends_by_count(store: &impl Store) {
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(stored(store, put("alice")).await);
    }
    let page = load(store, Load { limit: 2, ..load_of("alice") }).await;
    assert_eq!((super::ids(&page).as_slice(), page.more), (&ids[..2], true));
    let page = load(store, Load { limit: 2, except: ids[..2].to_vec(), ..load_of("alice") }).await;
    assert_eq!((super::ids(&page).as_slice(), page.more), (&ids[2..4], true));
    let page = load(store, Load { limit: 1, except: ids[..4].to_vec(), ..load_of("alice") }).await;
    assert_eq!((super::ids(&page).as_slice(), page.more), (&ids[4..], false), "exactly the rest");
    let page = load(store, Load { limit: 5, ..load_of("alice") }).await;
    assert!(!page.more, "exactly all");
}

pub(crate) async fn a_page_ends_by_bytes(store: &impl Store) {
    let sized = |bytes: usize| Put { message: message(new_id(), &"x".repeat(bytes)), ..put("alice") };
    let mut ids = Vec::new();
    for bytes in [1000, 400, 600, 1] {
        ids.push(stored(store, sized(bytes)).await);
    }
    let page = load(store, Load { max_bytes: 10, ..load_of("alice") }).await;
    assert_eq!((super::ids(&page).as_slice(), page.more), (&ids[..1], true), "the first always comes");
    let page = load(store, Load { max_bytes: 1400, ..load_of("alice") }).await;
    assert_eq!((super::ids(&page).as_slice(), page.more), (&ids[..2], true));
    let page = load(store, Load { max_bytes: 2001, ..load_of("alice") }).await;
    assert_eq!((super::ids(&page).len(), page.more), (4, false));
}

pub(crate) async fn a_batch_of_loads_keeps_addresses_apart(store: &impl Store) {
    let alice = stored(store, put("alice")).await;
    let bob = stored(store, put("bob")).await;
    let mut elsewhere = put("alice");
    elsewhere.address = Address::new(2, "alice").unwrap();
    let other = stored(store, elsewhere.clone()).await;
    let of_other = Load { address: elsewhere.address, ..load_of("alice") };
    let pages =
        store.load(vec![load_of("bob"), of_other, load_of("nobody"), load_of("alice"), load_of("bob")]).await;
    let ids: Vec<_> = pages.iter().map(|p| super::ids(p.as_ref().unwrap())).collect();
    assert_eq!(ids, [vec![bob], vec![other], vec![], vec![alice], vec![bob]]);
}

pub(crate) async fn a_check_compares_with_what_is_in_flight_d2(store: &impl Store) {
    assert!(!check(store, "alice", 0).await);
    let first = stored(store, put("alice")).await;
    stored(store, put("alice")).await;
    assert!(check(store, "alice", 0).await);
    assert!(check(store, "alice", 1).await);
    assert!(!check(store, "alice", 2).await);
    ack(store, ack_of("alice", first)).await;
    assert!(!check(store, "alice", 1).await);
    let batch = ["alice", "bob", "alice"].map(|user| Check { address: address(user), in_flight: 0 });
    assert_eq!(store.check(batch.to_vec()).await, [Ok(true), Ok(false), Ok(true)]);
}

pub(crate) async fn an_inbox_is_counted(store: &impl Store) {
    let empty = store.inbox(&address("alice")).await.unwrap();
    assert_eq!((empty.waiting, empty.broadcasts_waiting, empty.oldest), (0, 0, None));
    let first = stored(store, put("alice")).await;
    let second = stored(store, put("alice")).await;
    stored(store, put("bob")).await;
    let inbox = store.inbox(&address("alice")).await.unwrap();
    assert_eq!((inbox.waiting, inbox.oldest), (2, Some(first)));
    ack(store, ack_of("alice", first)).await;
    let inbox = store.inbox(&address("alice")).await.unwrap();
    assert_eq!((inbox.waiting, inbox.oldest), (1, Some(second)));
}
